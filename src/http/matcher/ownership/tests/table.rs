//! Table of confusing paths.

/// A target, its primary reading, and whether `/ws/*`, `not(/admin/*)` and `/*` own it.
pub(super) type Row = (&'static str, &'static str, bool, bool, bool);

const YES: bool = true;
const NO: bool = false;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Unambiguous paths.
    ("/ws/x",                              "/ws/x",                     YES, YES, YES),
    ("/ws/",                               "/ws/",                      YES, YES, YES),
    ("/ws",                                "/ws",                       NO,  YES, YES),
    ("/wsx",                               "/wsx",                      NO,  YES, YES),
    ("/",                                  "/",                         NO,  YES, YES),
    ("/admin/x",                           "/admin/x",                  NO,  NO,  YES),
    ("/ws/x?a=/../..%2f..",                "/ws/x",                     YES, YES, YES),
    ("/ws/.x/..y/z...a",                   "/ws/.x/..y/z...a",          YES, YES, YES),
    // Several spellings of one thing.
    ("/ws//x",                             "/ws/x",                     YES, YES, YES),
    ("/ws///x//",                          "/ws/x/",                    YES, YES, YES),
    ("/%77s/x",                            "/ws/x",                     YES, YES, YES),
    ("/%77%73/%78",                        "/ws/x",                     YES, YES, YES),
    ("/ws/caf%C3%A9/%e2%82%ac",            "/ws/café/€",                YES, YES, YES),
    ("/ws/a%20b",                          "/ws/a b",                   YES, YES, YES),
    ("/%61dmin//x",                        "/admin/x",                  NO,  NO,  YES),
    // Targets that are resolved against a base URL: the first name is a host.
    ("//ws/x",                             "/ws/x",                     NO,  YES, YES),
    ("//ws/ws/x",                          "/ws/ws/x",                  YES, YES, YES),
    ("///ws///",                           "/ws/",                      NO,  YES, YES),
    ("//ws/admin/x",                       "/ws/admin/x",               NO,  NO,  YES),
    ("/\\ws/x",                            "/\\ws/x",                   NO,  YES, YES),
    // Dot segments.
    ("/ws/.",                              "/ws/",                      YES, YES, YES),
    ("/ws/./x",                            "/ws/x",                     YES, YES, YES),
    ("/ws/a/../b",                         "/ws/b",                     YES, YES, YES),
    ("/ws/..",                             "/",                         NO,  YES, YES),
    ("/ws/../private",                     "/private",                  NO,  YES, YES),
    ("/ws/a/../../private",                "/private",                  NO,  YES, YES),
    ("/private/../ws/x",                   "/ws/x",                     NO,  YES, YES),
    ("/./ws/x",                            "/ws/x",                     NO,  YES, YES),
    ("/../ws/x",                           "/ws/x",                     NO,  YES, YES),
    ("/ws/../admin/x",                     "/admin/x",                  NO,  NO,  YES),
    ("/admin/../ws/x",                     "/ws/x",                     NO,  NO,  YES),
    // Empty segments that `..` may or may not remove.
    ("/ws//../private",                    "/private",                  NO,  YES, YES),
    ("/ws/x//../../private",               "/private",                  NO,  YES, YES),
    ("/x/../admin//../y",                  "/y",                        NO,  NO,  YES),
    // Escaped dots.
    ("/ws/%2e%2e/private",                 "/private",                  NO,  YES, YES),
    ("/ws/%2E./private",                   "/private",                  NO,  YES, YES),
    ("/ws/.%2e/admin/x",                   "/admin/x",                  NO,  NO,  YES),
    ("/ws/%2e/x",                          "/ws/x",                     YES, YES, YES),
    ("/ws/x%2ejson",                       "/ws/x.json",                YES, YES, YES),
    // Escaped slashes.
    ("/ws/a%2fb",                          "/ws/a%2Fb",                 YES, YES, YES),
    ("/ws%2fx",                            "/ws%2Fx",                   NO,  YES, YES),
    ("/admin%2fx",                         "/admin%2Fx",                NO,  NO,  YES),
    ("/ws/..%2fprivate",                   "/ws/..%2Fprivate",          NO,  YES, YES),
    ("/ws/%2e%2e%2fprivate",               "/ws/..%2Fprivate",          NO,  YES, YES),
    ("/ws/x%2f..%2f..%2fadmin%2fx",        "/ws/x%2F..%2F..%2Fadmin%2Fx", NO, NO, YES),
    ("/ws/x/..%2fy",                       "/ws/x/..%2Fy",              YES, YES, YES),
    // Backslashes.
    ("/ws/a\\b",                           "/ws/a\\b",                  YES, YES, YES),
    ("/ws\\x",                             "/ws\\x",                    NO,  YES, YES),
    ("/ws/..\\private",                    "/ws/..\\private",           NO,  YES, YES),
    ("/ws/..%5cprivate",                   "/ws/..%5Cprivate",          NO,  YES, YES),
    ("/ws/..%5C..\\admin%5cx",             "/ws/..%5C..\\admin%5Cx",    NO,  NO,  YES),
    ("/admin\\x",                          "/admin\\x",                 NO,  NO,  YES),
    // Path parameters.
    ("/ws/x;v=1",                          "/ws/x;v=1",                 YES, YES, YES),
    ("/ws;v=1/x",                          "/ws;v=1/x",                 NO,  YES, YES),
    ("/ws/..;/private",                    "/ws/..;/private",           NO,  YES, YES),
    ("/ws/..;v=1/admin/x",                 "/ws/..;v=1/admin/x",        NO,  NO,  YES),
    ("/ws/..%3b/private",                  "/ws/..;/private",           NO,  YES, YES),
    ("/ws/;/../private",                   "/ws/private",               NO,  YES, YES),
    ("/admin;v=1/x",                       "/admin;v=1/x",              NO,  NO,  YES),
    // Escapes of escapes.
    ("/ws/%252e%252e%252fprivate",         "/ws/%252e%252e%252fprivate", NO, YES, YES),
    ("/ws/%252e%252e/private",             "/ws/%252e%252e/private",    NO,  YES, YES),
    ("/ws/%25252e%25252e/admin/x",         "/ws/%25252e%25252e/admin/x", NO, NO,  YES),
    ("/ws/..%255cprivate",                 "/ws/..%255cprivate",        NO,  YES, YES),
    ("/ws/..%253b/private",                "/ws/..%253b/private",       NO,  YES, YES),
    ("/%2577s/x",                          "/%2577s/x",                 NO,  YES, YES),
    ("/%2561dmin/x",                       "/%2561dmin/x",              NO,  NO,  YES),
    ("/ws/100%25",                         "/ws/100%25",                YES, YES, YES),
    // No escapes at all.
    ("/ws/100%",                           "/ws/100%25",                YES, YES, YES),
    ("/ws/%zz",                            "/ws/%25zz",                 YES, YES, YES),
    ("/ws/%%32%65%%32%65/private",         "/ws/%252e%252e/private",    NO,  YES, YES),
    // Targets that are decoded before they are parsed.
    ("/ws/x%3f/../y",                      "/ws/y",                     YES, YES, YES),
    ("/ws/x%3f/../../private",             "/private",                  NO,  YES, YES),
    ("/ws/..%3fx",                         "/ws/..?x",                  NO,  YES, YES),
    ("/ws%3f/x",                           "/ws?/x",                    NO,  YES, YES),
    ("/admin/%23x",                        "/admin/#x",                 NO,  NO,  YES),
    // Dots and spaces that Windows drops.
    ("/ws/..%20/private",                  "/ws/.. /private",           NO,  YES, YES),
    ("/ws/..+/private",                    "/ws/..+/private",           NO,  YES, YES),
    ("/ws/a+b",                            "/ws/a+b",                   YES, YES, YES),
    ("/admin./x",                          "/admin./x",                 NO,  NO,  YES),
    // Dot segments that one hop resolves before another decodes the rest.
    ("/ws/a%2fb%2fc/../..%2fprivate",      "/ws/..%2Fprivate",          NO,  YES, YES),
    ("/ws/a\\b/..%2f..%2fprivate",         "/ws/a\\b/..%2F..%2Fprivate", NO, YES, YES),
    ("/ws/x\\y/%252e%252e/%252e%252e/x",   "/ws/x\\y/%252e%252e/%252e%252e/x", NO, YES, YES),
    ("/ws/x%2fy/%252e%252e/%252e%252e/z",  "/ws/x%2Fy/%252e%252e/%252e%252e/z", NO, YES, YES),
    // Characters that are folded to ASCII.
    ("/ws/%EF%BC%8E%EF%BC%8E/private",     "/ws/．．/private",          NO,  YES, YES),
    ("/ws/..%EF%BC%8Fprivate",             "/ws/..／private",           NO,  YES, YES),
    ("/ws/%E2%80%A5/private",              "/ws/‥/private",             NO,  YES, YES),
    ("/ws/..%E2%88%95private",             "/ws/..∕private",            NO,  YES, YES),
    ("/%EF%BD%81dmin/x",                   "/ａdmin/x",                 NO,  NO,  YES),
    ("/ws/%EF%BC%81",                      "/ws/！",                    YES, YES, YES),
    // Escapes of IIS: never owned.
    ("/ws/%u002e%u002e/private",           "/ws/%25u002e%25u002e/private", NO, NO, NO),
    ("/ws/%25u002e",                       "/ws/%25u002e",              NO,  NO,  NO),
    // Bytes that only broken decoders see: never owned.
    ("/ws/%00",                            "/ws/%00",                   NO,  NO,  NO),
    ("/ws/..%00/private",                  "/ws/..%00/private",         NO,  NO,  NO),
    ("/ws/%2500",                          "/ws/%2500",                 NO,  NO,  NO),
    ("/ws/%c0%ae%c0%ae/private",           "/ws/%C0%AE%C0%AE/private",  NO,  NO,  NO),
    ("/ws/..%c0%afprivate",                "/ws/..%C0%AFprivate",       NO,  NO,  NO),
    // Other bytes.
    ("/ws/%0d%0A",                         "/ws/%0D%0A",                NO,  NO,  NO),
    ("/ws/caf%E9",                         "/ws/caf%E9",                YES, YES, YES),
    // Without a path: no pattern owns it, not even `*`.
    ("*",                                  "",                          NO,  YES, NO),
    ("example.com:80",                     "",                          NO,  YES, NO),
    ("http://example.com/ws/x",            "/ws/x",                     YES, YES, YES),
    ("http://example.com",                 "/",                         NO,  YES, YES),
];
