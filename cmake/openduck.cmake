# The build rules of the project: flags, foreign libraries, and the four functions everything uses:
#   od_module(NAME SOURCES ... DEPS ... [FOREIGN ...] [CXX])   a static library of one folder under src/
#   od_test(NAME SOURCES ... DEPS ...)                         one cmocka executable, registered with ctest
#   od_fuzz(NAME SOURCES ... DEPS ...)                         one fuzz target; also a replay test over its corpus
# DEPS of a module are the folders its includes may point to: the link line is the include matrix.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

find_program(OD_CCACHE ccache)
if(OD_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${OD_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${OD_CCACHE})
endif()

add_library(od_flags INTERFACE)
target_compile_definitions(od_flags INTERFACE _GNU_SOURCE OD_VERSION="${PROJECT_VERSION}")
target_compile_options(od_flags INTERFACE -Wall -Wextra -Wshadow -Wundef -Wvla -Wimplicit-fallthrough
  -Wnull-dereference -fno-omit-frame-pointer
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wcast-qual -Wformat=2
    -Wdouble-promotion -Werror=implicit-function-declaration -Werror=incompatible-pointer-types -Werror=return-type>
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-unused-parameter -Wno-shadow -Wno-null-dereference>)
if(OD_SANITIZE)
  target_compile_options(od_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
    $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize=vptr>)
  target_link_options(od_flags INTERFACE -fsanitize=address,undefined)
  target_compile_definitions(od_flags INTERFACE OD_SANITIZED=1)
endif()
if(OD_TSAN)
  target_compile_options(od_flags INTERFACE -fsanitize=thread)
  target_link_options(od_flags INTERFACE -fsanitize=thread)
endif()
if(OD_FUZZ)
  target_compile_options(od_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# ---- foreign libraries. Each is named in the FOREIGN list of the one module that owns it.
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
add_library(foreign_protobuf_c INTERFACE)
target_link_libraries(foreign_protobuf_c INTERFACE PkgConfig::PROTOBUF_C)

find_library(OD_GRPC_LIBRARY grpc REQUIRED)
find_library(OD_GPR_LIBRARY gpr REQUIRED)
add_library(foreign_grpc INTERFACE)
target_link_libraries(foreign_grpc INTERFACE ${OD_GRPC_LIBRARY} ${OD_GPR_LIBRARY})

find_library(OD_XXHASH_LIBRARY xxhash REQUIRED)
add_library(foreign_xxhash INTERFACE)
target_link_libraries(foreign_xxhash INTERFACE ${OD_XXHASH_LIBRARY})

find_library(OD_INIH_LIBRARY inih REQUIRED)
add_library(foreign_inih INTERFACE)
target_link_libraries(foreign_inih INTERFACE ${OD_INIH_LIBRARY})

find_library(OD_LZ4_LIBRARY lz4 REQUIRED)
add_library(foreign_lz4 INTERFACE)
target_link_libraries(foreign_lz4 INTERFACE ${OD_LZ4_LIBRARY})

find_library(OD_ZSTD_LIBRARY zstd REQUIRED)
add_library(foreign_zstd INTERFACE)
target_link_libraries(foreign_zstd INTERFACE ${OD_ZSTD_LIBRARY})

pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
add_library(foreign_sqlite INTERFACE)
target_link_libraries(foreign_sqlite INTERFACE PkgConfig::SQLITE)

pkg_check_modules(POSTGRES REQUIRED IMPORTED_TARGET libpq)
add_library(foreign_postgres INTERFACE)
target_link_libraries(foreign_postgres INTERFACE PkgConfig::POSTGRES)

pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
add_library(foreign_curl INTERFACE)
target_link_libraries(foreign_curl INTERFACE PkgConfig::CURL)

find_library(OD_CRYPTO_LIBRARY crypto REQUIRED)
add_library(foreign_crypto INTERFACE)
target_link_libraries(foreign_crypto INTERFACE ${OD_CRYPTO_LIBRARY})

# nanoarrow: bundled C sources with their own symbol namespace, so that no second copy in a host process clashes.
set(OD_NANOARROW_DIR ${OD_DEPS_DIR}/nanoarrow)
add_library(foreign_nanoarrow STATIC ${OD_NANOARROW_DIR}/src/nanoarrow.c ${OD_NANOARROW_DIR}/src/nanoarrow_ipc.c
  ${OD_NANOARROW_DIR}/src/flatcc.c)
target_include_directories(foreign_nanoarrow SYSTEM PUBLIC ${OD_NANOARROW_DIR}/include)
target_compile_options(foreign_nanoarrow PRIVATE -w)
if(OD_SANITIZE)
  target_compile_options(foreign_nanoarrow PRIVATE -fsanitize=address)
endif()
if(OD_FUZZ)
  target_compile_options(foreign_nanoarrow PRIVATE -fsanitize=fuzzer-no-link,address)
endif()

# DuckDB: the prebuilt shared library, and the headers of the same version.
add_library(foreign_duckdb SHARED IMPORTED)
set_target_properties(foreign_duckdb PROPERTIES
  IMPORTED_LOCATION ${OD_DEPS_DIR}/duckdb/lib/libduckdb.so
  INTERFACE_INCLUDE_DIRECTORIES ${OD_DEPS_DIR}/duckdb/include
  INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${OD_DEPS_DIR}/duckdb/include)

function(od_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;FOREIGN" ${ARGN})
  add_library(od_${name} STATIC ${ARG_SOURCES})
  target_include_directories(od_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  target_link_libraries(od_${name} PUBLIC od_flags Threads::Threads)
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(od_${name} PUBLIC od_${dep})
  endforeach()
  foreach(lib IN LISTS ARG_FOREIGN)
    target_link_libraries(od_${name} PUBLIC foreign_${lib})
  endforeach()
endfunction()

function(od_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(test_${name} ${ARG_SOURCES})
  target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include
    ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(test_${name} PRIVATE od_flags cmocka)
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(test_${name} PRIVATE od_${dep})
  endforeach()
  add_test(NAME ${name} COMMAND test_${name})
  # cmocka catches SIGSEGV and hides the stack unless the sanitizer keeps the signal.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "ASAN_OPTIONS=handle_segv=2:detect_leaks=1;LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/support/lsan.supp")
endfunction()

# A fuzz target is one file with LLVMFuzzerTestOneInput. Without OD_FUZZ it is linked with a driver that
# replays its corpus, so that every corpus is also a normal test.
function(od_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  if(OD_FUZZ)
    add_executable(fuzz_${name} ${ARG_SOURCES})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(fuzz_${name} ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.c)
    add_test(NAME fuzz_${name} COMMAND fuzz_${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
    set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 120)
  endif()
  target_include_directories(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include
    ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(fuzz_${name} PRIVATE od_flags)
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(fuzz_${name} PRIVATE od_${dep})
  endforeach()
endfunction()
