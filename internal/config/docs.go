package config

import (
	"fmt"
	"strings"
)

// Markdown writes the reference page docs/parameters.md from the table.
func Markdown() string {
	var b strings.Builder
	b.WriteString("<!-- Generated from internal/config by go generate; edit the table there. -->\n\n# Parameters of `lycosa run`\n\n")
	b.WriteString(markdownIntro)
	group := ""
	for _, p := range Table() {
		if p.Group != group {
			group = p.Group
			fmt.Fprintf(&b, "\n## %s\n\n| flag | environment | YAML key | default | meaning |\n|---|---|---|---|---|\n", group)
		}
		flag, env, key := "`--"+p.Name+p.valueHint(" ")+"`", "`"+p.EnvName()+"`", "`"+p.Name+"`"
		if p.NoFlag {
			flag = "–"
		}
		if p.NoEnv {
			env = "–"
		}
		if p.NoYAML {
			key = "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", flag, env, key, p.defaultText("`"), p.Doc)
	}
	b.WriteString(markdownTiers)
	return b.String()
}

const markdownIntro = "Flags rule over environment variables, these over the YAML file of `--config`, that over the defaults. " +
	"An unknown flag or key\nends the process with exit code 2 and names the nearest known one; unknown `LYCOSA_*` variables " +
	"make one warning. An empty\nvariable counts as not set. Durations are written `300ms`, `5s`, `2h`; sizes `64MiB`, `1GiB` " +
	"(powers of 1024). Lists are\nseparated by commas; in YAML they may be lists. `LYCOSA_PEER`, `LYCOSA_USER` and " +
	"`LYCOSA_PASSWORD_FILE` belong to the\ncommands that ask a running instance.\n"

const markdownTiers = `
## Tiers (YAML only)

The section ` + "`tiers:`" + ` describes the tiers of a cluster; it is read when the cluster is created.

` + "```yaml" + `
tiers:
  default:
    replication_factor: 3   # 1 to 32, default 1
    can_vote: true          # may be a voter of the catalog, default true
    wal_mode: fsync         # fsync, write or none, default fsync
    bucket_count: 3000      # default 3000
` + "```" + `
`

// Help writes the flags for the help of a command, grouped, with defaults.
func Help() string {
	var b strings.Builder
	group := ""
	for _, p := range Table() {
		if p.Group != group {
			group = p.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		head := "--" + p.Name + p.valueHint(" ")
		if p.NoFlag {
			head = p.EnvName()
		}
		fmt.Fprintf(&b, "  %-36s %s", head, p.Doc)
		if d := p.defaultText(""); d != "false" {
			fmt.Fprintf(&b, " Default: %s.", strings.ReplaceAll(d, "`", ""))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (p Param) valueHint(before string) string {
	switch {
	case p.IsBool():
		return ""
	case p.Choices != nil:
		return before + strings.Join(p.Choices, "/")
	case p.Hint != "":
		return before + p.Hint
	}
	return ""
}

// defaultText quotes a literal default; a computed one is a phrase of its own.
func (p Param) defaultText(quote string) string {
	if p.DefaultDoc != "" {
		return p.DefaultDoc
	}
	return quote + p.Default + quote
}
