package mapping

// statuses is RFC 7247, section 7.1, table 2: the response code for each
// condition, where the error is about a full JID and where about a bare one.
var statuses = map[string]struct{ full, bare int }{
	"bad-request":             {400, 400},
	"conflict":                {400, 400},
	"feature-not-implemented": {405, 501}, // note 1
	"forbidden":               {403, 603}, // note 2
	"gone":                    {301, 301}, // note 3: 410 without an address
	"internal-server-error":   {500, 500},
	"item-not-found":          {404, 604}, // note 2
	"jid-malformed":           {400, 400},
	"not-acceptable":          {406, 606}, // note 2
	"not-allowed":             {403, 403},
	"not-authorized":          {401, 401},
	"policy-violation":        {403, 403},
	"recipient-unavailable":   {480, 600}, // note 2
	"redirect":                {302, 302},
	"registration-required":   {407, 407},
	"remote-server-not-found": {404, 404}, // note 4: 408 where it was not resolved
	"remote-server-timeout":   {408, 408},
	"resource-constraint":     {500, 500},
	"service-unavailable":     {405, 403}, // note 5: never 503
	"subscription-required":   {400, 400},
	"undefined-condition":     {400, 400},
	"unexpected-request":      {400, 400}, // 491 inside an INVITE dialog
}

// byType gives an error that has no condition of RFC 6120, which makes it an
// undefined-condition, its response code: its type says more (XF-75, ERR-01).
var byType = map[string]int{
	"auth":     403,
	"cancel":   403,
	"continue": 400,
	"modify":   400,
	"wait":     480,
	"":         400,
}

// responses is RFC 7247, section 7.2, table 3, with the error type and the
// standard phrase of each code. The rows of the hundreds are the classes too:
// the table gives 300, 400, 500 and 600 what it gives 3xx, 4xx, 5xx and 6xx.
var responses = map[int]struct{ condition, typ, phrase string }{
	300: {"redirect", "modify", "Multiple Choices"},
	301: {"gone", "cancel", "Moved Permanently"}, // note 1
	302: {"redirect", "modify", "Moved Temporarily"},
	305: {"redirect", "modify", "Use Proxy"},
	380: {"not-acceptable", "modify", "Alternative Service"},

	400: {"bad-request", "modify", "Bad Request"},
	401: {"not-authorized", "auth", "Unauthorized"},
	402: {"bad-request", "modify", "Payment Required"}, // note 2
	403: {"forbidden", "auth", "Forbidden"},            // note 3
	404: {"item-not-found", "cancel", "Not Found"},     // note 4
	405: {"feature-not-implemented", "cancel", "Method Not Allowed"},
	406: {"not-acceptable", "modify", "Not Acceptable"},
	407: {"registration-required", "auth", "Proxy Authentication Required"},
	408: {"remote-server-timeout", "wait", "Request Timeout"}, // note 5
	410: {"gone", "cancel", "Gone"},                           // note 1: without an address
	413: {"policy-violation", "modify", "Request Entity Too Large"},
	414: {"policy-violation", "modify", "Request-URI Too Long"},
	415: {"not-acceptable", "modify", "Unsupported Media Type"},
	416: {"not-acceptable", "modify", "Unsupported URI Scheme"},
	420: {"feature-not-implemented", "cancel", "Bad Extension"},
	421: {"not-acceptable", "modify", "Extension Required"},
	423: {"resource-constraint", "wait", "Interval Too Brief"},
	430: {"recipient-unavailable", "wait", "Flow Failed"},                          // note 6
	439: {"feature-not-implemented", "cancel", "First Hop Lacks Outbound Support"}, // note 6
	440: {"policy-violation", "modify", "Max-Breadth Exceeded"},                    // note 7
	480: {"recipient-unavailable", "wait", "Temporarily Unavailable"},
	481: {"item-not-found", "cancel", "Call/Transaction Does Not Exist"},
	482: {"not-acceptable", "modify", "Loop Detected"},
	483: {"not-acceptable", "modify", "Too Many Hops"},
	484: {"item-not-found", "cancel", "Address Incomplete"},
	485: {"item-not-found", "cancel", "Ambiguous"},
	486: {"recipient-unavailable", "wait", "Busy Here"},
	487: {"recipient-unavailable", "wait", "Request Terminated"},
	488: {"not-acceptable", "modify", "Not Acceptable Here"},
	489: {"policy-violation", "modify", "Bad Event"}, // note 8
	491: {"unexpected-request", "wait", "Request Pending"},
	493: {"bad-request", "modify", "Undecipherable"},

	500: {"internal-server-error", "cancel", "Server Internal Error"},
	501: {"feature-not-implemented", "cancel", "Not Implemented"},
	502: {"remote-server-not-found", "cancel", "Bad Gateway"},
	503: {"internal-server-error", "cancel", "Service Unavailable"}, // note 9
	504: {"remote-server-timeout", "wait", "Server Time-out"},
	505: {"not-acceptable", "modify", "Version Not Supported"},
	513: {"policy-violation", "modify", "Message Too Large"},

	600: {"recipient-unavailable", "wait", "Busy Everywhere"},
	603: {"recipient-unavailable", "wait", "Decline"},
	604: {"item-not-found", "cancel", "Does Not Exist Anywhere"},
	606: {"not-acceptable", "modify", "Not Acceptable"},
}
