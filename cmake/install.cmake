# What `make install` puts where:
#   bin/openduck
#   lib/openduck/openduck.duckdb_extension, and beside it libduckdb.so, which both need
#   include/openduck/*.h   share/openduck/proto/   share/doc/openduck/
if(TARGET openduck)
  set_target_properties(openduck PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/openduck")
  install(TARGETS openduck RUNTIME DESTINATION bin)
endif()
install(FILES ${CMAKE_BINARY_DIR}/extension/openduck.duckdb_extension ${OD_DEPS_DIR}/duckdb/lib/libduckdb.so
  DESTINATION lib/openduck PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
  WORLD_EXECUTE)
install(DIRECTORY include/openduck DESTINATION include FILES_MATCHING PATTERN "*.h")
install(DIRECTORY proto/ DESTINATION share/openduck/proto FILES_MATCHING PATTERN "*.proto")
file(GLOB od_texts README.md LICENSE NOTICE ARCHITECTURE.md CHANGELOG.md)
install(FILES ${od_texts} DESTINATION share/doc/openduck)
install(DIRECTORY docs DESTINATION share/doc/openduck)
