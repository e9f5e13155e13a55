"""rtnetlink in the few messages that tortie needs: one module per kind of object, all on `NetlinkSocket`.

IP addresses are packed bytes in network order, as `IPv4Address.packed` gives them: rows are handled by the
hundred thousand. MAC addresses are text, `ee:ee:ee:ee:ee:ee`, as the model spells them.
"""
