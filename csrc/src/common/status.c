/* What a program shows of the library: its version, and numbers in words. */
#include "flowclass.h"

const char *fc_version(void) { return FC_VERSION; }

const char *fc_status_text(int status)
{
    switch (status) {
    case FC_OK:
        return "done";
    case FC_ENOMEM:
        return "out of memory";
    case FC_EINVAL:
        return "an argument is out of its documented range";
    case FC_ELIMIT:
        return "a documented bound would be exceeded";
    case FC_ENOKERNEL:
        return "no kernel has this name or number";
    case FC_ENOTBUILT:
        return "not in this build: it belongs to another architecture or system";
    case FC_ENOCPU:
        return "this processor lacks instructions that the kernel needs";
    case FC_ENOENT:
        return "no such entry";
    case FC_EEXIST:
        return "an address or prefix belongs to another entry already";
    }
    return "not a status of flowclass";
}

const char *fc_action_text(int action)
{
    static const char *const names[] = {"none", "forward", "discard", "n-cast"};
    return action >= FC_ACTION_NONE && action <= FC_ACTION_NCAST ? names[action] : "unknown";
}

const char *fc_reason_text(int reason)
{
    static const char *const names[] = {"not-ip", "malformed", "unbound", "signalling", "flow", "default"};
    return reason >= FC_REASON_NOT_IP && reason <= FC_REASON_DEFAULT ? names[reason] : "unknown";
}
