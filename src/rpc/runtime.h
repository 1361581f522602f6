// runtime.h (internal) - the gRPC library inside this process: started once, stopped with its last user.
#ifndef OD_RPC_RUNTIME_H
#define OD_RPC_RUNTIME_H

#include "base/error.h"

#include <grpc/support/time.h>

OD_BEGIN_C

// Each channel and server holds one reference. Fails with OD_UNSUPPORTED in a process forked while references existed.
OD_CHECKED od_code od_rpc_runtime_ref(struct od_error *err);
void od_rpc_runtime_unref(void);
// True in a child of fork that inherited the gRPC library running: its threads are gone, so nothing of it may be
// called, not even to release memory.
bool od_rpc_forked(void);

// What gRPC last complained about on this thread since od_rpc_complaint_clear ("" when nothing): some of its calls
// give their reason only to the log.
const char *od_rpc_complaint(void);
void od_rpc_complaint_clear(void);

gpr_timespec od_rpc_deadline(uint64_t timeout_ms); // from now; 0 and UINT64_MAX: never

OD_END_C

#endif
