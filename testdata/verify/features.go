package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The feature table stands between these lines of the README.
const (
	featuresBegin = "<!-- features: written by make features -->\n"
	featuresEnd   = "<!-- /features -->\n"
)

// features gives each family of requirements its name in the README.
var features = []struct{ prefix, title string }{
	{"ADDR", "Addresses, both ways"},
	{"ERR", "Errors, both ways"},
	{"RES", "Finding a domain, connections"},
	{"MSG", "Pager messages, typing and receipts in them"},
	{"CPIM", "Message/CPIM"},
	{"E2E", "End-to-end signed and encrypted messages"},
	{"GW", "Gateway rules"},
	{"XEP", "XMPP extensions we announce"},
	{"XF", "XMPP federation"},
	{"SIP", "SIP core"},
	{"ID", "SIP identity"},
	{"SUB", "SIP event subscriptions"},
	{"RLS", "Resource lists"},
	{"COND", "Conditional notification"},
	{"RATE", "Notification rate control"},
	{"PRES", "Presence, both ways"},
	{"CPP", "Abstract presence service"},
	{"XPIDF", "PIDF and XMPP presence"},
	{"PRS", "SIP presence"},
	{"PUB", "Publication"},
	{"PIDF", "PIDF documents"},
	{"DM", "Presence data model"},
	{"RPID", "Rich presence"},
	{"TIMED", "Timed presence"},
	{"CIPID", "Contact information in presence"},
	{"CAPS", "User agent capabilities in presence"},
	{"WINFO", "Watcher information"},
	{"FILT", "Event filters"},
	{"PATCH", "XML patch operations"},
	{"PART", "Partial presence"},
	{"POL", "Presence rules"},
	{"XCAP", "XCAP"},
	{"MSRP", "MSRP and bridged sessions"},
	{"RELAY", "MSRP relays"},
	{"CHAT", "One-to-one sessions"},
	{"MUC", "Rooms, both ways"},
	{"ROOM", "Rooms hosted and joined"},
	{"IMDN", "Disposition notifications"},
	{"COMP", "Composing indications"},
	{"FILE", "File transfer"},
	{"OVR", "Overview of SIMPLE"},
}

// title returns the name of a family, or "".
func title(prefix string) string {
	for _, f := range features {
		if f.prefix == prefix {
			return f.title
		}
	}
	return ""
}

// table returns the feature table: for each family in the ledger how many
// requirements are done, and below it what the partly done ones lack.
func table(rows []row) string {
	count := map[string]map[string]int{}
	var lacks strings.Builder
	for _, r := range rows {
		p := r.prefix()
		if count[p] == nil {
			count[p] = map[string]int{}
		}
		count[p][r.State]++
		if r.State == "partly" {
			fmt.Fprintf(&lacks, "- %s lacks: %s\n", r.ID, r.Rest)
		}
	}
	var out strings.Builder
	out.WriteString("| requirements | | done | partly | not |\n|---|---|--:|--:|--:|\n")
	for _, f := range features {
		if n := count[f.prefix]; n != nil {
			fmt.Fprintf(&out, "| %s | %s | %d | %d | %d |\n", f.title, f.prefix, n["yes"], n["partly"], n["no"])
		}
	}
	if lacks.Len() > 0 {
		out.WriteString("\n" + lacks.String())
	}
	return out.String()
}

// replaced returns the README with the table between its markers.
func replaced(readme, table string) (string, error) {
	before, rest, ok := strings.Cut(readme, featuresBegin)
	_, after, ended := strings.Cut(rest, featuresEnd)
	if !ok || !ended {
		return "", fmt.Errorf("%s lacks the lines %q and %q", readmeFile, featuresBegin, featuresEnd)
	}
	return before + featuresBegin + "\n" + table + "\n" + featuresEnd + after, nil
}

// staleFeatures says whether the README's table is not what the ledger says.
func staleFeatures(root string, rows []row) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(root, readmeFile))
	if err != nil {
		return nil, err
	}
	want, err := replaced(string(b), table(rows))
	if err != nil || want == string(b) {
		return nil, err
	}
	return []string{readmeFile + ": the feature table is not up to date: make features"}, nil
}

// writeFeatures brings the README's table up to date.
func writeFeatures(root string) error {
	rows, faults, err := readLedger(root)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("%s", strings.Join(faults, "\n"))
	}
	file := filepath.Join(root, readmeFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	s, err := replaced(string(b), table(rows))
	if err != nil || s == string(b) {
		return err
	}
	return os.WriteFile(file, []byte(s), 0o666)
}
