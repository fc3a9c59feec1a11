# Makes the man page flowclass(3) of include/flowclass.h: awk -f flowclass.3.awk include/flowclass.h > flowclass.3
# Each section of the header becomes one of the page; declarations and their comments stay as they stand there.
function literal(line) {
    gsub(/\\/, "\\e", line)
    gsub(/-/, "\\-", line)
    sub(/^[.']/, "\\\\\\&&", line)
    return line
}
/^#define FC_VERSION "/ {
    split($0, quoted, "\"")
    version = quoted[2]
}
/^\/\* flowclass\.h - / && !begun { # the opening comment is the description
    begun = 1
    summary = $0
    sub(/^.* - /, "", summary)
    sub(/\.$/, "", summary)
    intro = 1
    next
}
intro {
    end = /\*\//
    line = $0
    sub(/ *\*\/$/, "", line)
    sub(/^ \*/, "", line)
    sub(/^ /, "", line)
    if (!end || line !~ /^ *$/)
        description = description (line == "" ? ".PP" : literal(line)) "\n"
    if (end)
        intro = 0
    next
}
/^\/\* ---- / {
    title = $0
    sub(/^\/\* ---- /, "", title)
    sub(/ *-* *\*\/$/, "", title)
    if (open_section)
        body = body ".EE\n"
    threads = title
    if (!sub(/^[^.]*\. */, "", threads)) # who may call these functions
        threads = ""
    sub(/\..*/, "", title)
    body = body ".SH \"" toupper(literal(title)) "\"\n" (threads == "" ? "" : literal(threads) "\n.PP\n") ".EX\n"
    open_section = 1
    next
}
/^#ifdef __cplusplus/, /^#endif/ { next }
/^#if|^#else|^#endif|^#include|^#define FC_API/ { next }
open_section { line = $0; gsub(/FC_API /, "", line); body = body literal(line) "\n" }
END {
    if (!begun || !open_section || version == "") {
        print "flowclass.3.awk: this is not flowclass.h" > "/dev/stderr"
        exit 1
    }
    printf ".\\\" Made by flowclass.3.awk of flowclass.h; not to be edited.\n"
    printf ".TH FLOWCLASS 3 \"\" \"flowclass %s\" \"Library Functions Manual\"\n", version
    printf ".SH NAME\nflowclass \\- %s\n", literal(summary)
    printf ".SH SYNOPSIS\n.B #include <flowclass.h>\n.PP\ncc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs flowclass)\n"
    printf ".SH DESCRIPTION\n%s%s.EE\n", description, body
    printf ".SH SEE ALSO\n.BR pkg\\-config (1),\n.BR flowclass (1)\n.PP\n"
    printf "docs/howto/embed\\-c.md of the sources goes through a whole program.\n"
}
