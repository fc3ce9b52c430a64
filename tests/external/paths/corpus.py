"""The corpus: paths from the pieces of path confusion, the same on every machine."""

import random

SEED = 20
COUNT = 1500

PIECES = [
    "/", "/", "//", "ws", "admin", "x", "a.b", ".", "..", "/../", "/./", "...",
    "%2e", "%2E%2e", "%252e", "%252e%252e", "%2f", "%2F", "%252f", "\\", "%5c", "%255c",
    ";", ";v=1", "%3b", "%253b", "%3f", "%23", "%20", "%25", "%", "%2", "%41", "%77", "%2577",
    "%c3%a9", "%ff", "%ef%bc%8f", "%ef%bc%8e", "%e2%80%a5", "%e2%88%95", "+", ":", "@", "&", "=",
    "%c0%ae", "%c0%af", "%e0%80%ae", "%0a", "%0d%0a", "%09", "%00", "%7f", "%u002e", "%u002f", "|", "~", "'", "*",
]

# Combinations that broke servers.
KNOWN = [
    "/ws/x", "/ws//x", "/ws/./x", "/ws/../private", "/ws/..", "/ws/.", "/ws/...", "/ws/%2e%2e/private",
    "/ws/.%2e/private", "/ws/%252e%252e/private", "/ws/..%2fprivate", "/ws/%2e%2e%2fprivate",
    "/ws/..%252fprivate", "/ws/..%5cprivate", "/ws/..\\private", "/ws/..;/private",
    "/ws/..;a=b/private", "/ws;/../private", "/ws/;/../../private", "/ws/x;/../y", "/ws/%3b/../x",
    "/ws/..%00/private", "/ws/x%00/../../private", "/ws/.%09./private", "/ws/.%0a./private",
    "/ws/..%0d/private", "/ws/%c0%ae%c0%ae/private", "/ws/..%c0%afprivate",
    "/ws/%ef%bc%8e%ef%bc%8e/private", "/ws/..%ef%bc%8fprivate", "/ws/%e2%80%a5/private",
    "/ws/%u002e%u002e/private", "/ws/..%u002fprivate", "/ws/..%3f/private", "/ws/..%23/private",
    "/ws/x%3f/../../private", "/ws/..%20/private", "/ws/..+/private", "/ws//../private",
    "/ws/x//../../private", "//ws/../private", "//admin/x", "/%61dmin/x", "/admin%2fx", "/admin;/x",
    "/admin\\x", "/ADMIN/x", "/admin./x", "/admin%20/x", "/ws/../admin/x", "/x/../admin//../y",
    "/admin/%23x", "/admin%3f/x", "/admin%00/x", "/ws/%", "/ws/%zz", "/ws/%%32%65%%32%65/private",
    "/ws/%25%32%65%25%32%65/private", "/ws/a%2fb", "/ws/a%5cb", "/ws/a+b", "/ws/caf%c3%a9", "/ws/caf%e9",
    "/.ws/x", "/..ws/x", "/ws../x", "/ws./x", "/./ws/x", "/../ws/x", "///ws///x///", "/ws/x/..;/..;/private",
    "//private/ws/x", "//ws/x", "/\\ws/x", "/ws:80/x", "/ws@x/y", "/ws/x:/..//y",
]


def corpus():
    draw = random.Random(SEED)
    targets = dict.fromkeys(KNOWN)
    while len(targets) < COUNT:
        few = draw.sample(PIECES, draw.randint(1, 5))
        path = "".join(draw.choice(few) for _ in range(draw.randint(0, 10)))
        start = draw.choice(["/ws/", "/ws/", "/ws/", "/admin/", "/", "/ws", "//"])
        targets[start + path] = None
    return list(targets)
