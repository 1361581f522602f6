// cdecl.h - lets the C++ shims include C headers.
#ifndef OD_BASE_CDECL_H
#define OD_BASE_CDECL_H

#ifdef __cplusplus
#define OD_BEGIN_C extern "C" {
#define OD_END_C }
#define OD_NORETURN [[noreturn]]
#else
#define OD_BEGIN_C
#define OD_END_C
#define OD_NORETURN _Noreturn
#endif

#endif
