package config

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// ErrHelp is returned by Load when the arguments ask for help.
var ErrHelp = errors.New("help was asked for")

// setting is one value on its way into the configuration.
type setting struct {
	text   string
	origin Origin
}

// Load makes the configuration from command line arguments (without program and command name), an environment as
// os.Environ gives it, and a function that reads a whole small file. Flags rule over environment, environment over the
// YAML file, that over defaults. Every error is one of use: it names the parameter, its place and, for an unknown name,
// the nearest known one. The warnings are sentences for the log.
func Load(args, environ []string, readFile func(string) ([]byte, error)) (*Config, []string, error) {
	flags, err := parseFlags(args)
	if err != nil {
		return nil, nil, err
	}
	env, warnings := parseEnv(environ)
	c := &Config{}
	settings := make(map[string]setting)
	path, given := flags["config"]
	if !given {
		path, given = env["config"]
	}
	if given {
		data, err := readFile(path.text)
		if err != nil {
			return nil, nil, fmt.Errorf("config (%s): %w", path.origin, err)
		}
		file, err := parseYAML(path.text, data)
		if err != nil {
			return nil, nil, err
		}
		settings, c.Tiers = file.settings, file.tiers
	}
	for _, stronger := range []map[string]setting{env, flags} {
		for name, s := range stronger {
			settings[name] = s
		}
	}
	if err := c.fill(settings, readFile); err != nil {
		return nil, nil, err
	}
	return c, warnings, c.complete()
}

// fill stores the settings, and defaults for the rest.
func (c *Config) fill(settings map[string]setting, readFile func(string) ([]byte, error)) error {
	c.origins, c.texts = make(map[string]Origin), make(map[string]string)
	for _, p := range Table() {
		s, given := settings[p.Name]
		if !given {
			s = setting{text: p.Default, origin: Origin{Source: FromDefault, Place: "default"}}
			if p.Name == "memory" {
				s.text = defaultMemory(readFile).String()
			}
		}
		if err := c.store(p, s, given); err != nil {
			return fmt.Errorf("%s (%s): %w", p.Name, s.origin, err)
		}
	}
	return nil
}

func (c *Config) store(p Param, s setting, given bool) error {
	if given && s.text == "" {
		return errors.New("has no value")
	}
	if p.Choices != nil && !contains(p.Choices, s.text) {
		return fmt.Errorf("%q is none of %s%s", s.text, strings.Join(p.Choices, ", "), didYouMean(s.text, p.Choices, ""))
	}
	if s.text != "" {
		if err := assign(p.field(c), s.text); err != nil {
			return err
		}
	}
	c.origins[p.Name] = s.origin
	if c.texts[p.Name] = format(p.field(c)); p.Secret && c.texts[p.Name] != "" {
		c.texts[p.Name] = secretText
	}
	if p.check != nil {
		return p.check(c)
	}
	return nil
}

// complete derives what depends on several parameters, and checks them together.
func (c *Config) complete() error {
	if c.Advertise == "" {
		if IsWildcard(c.Listen) {
			return fmt.Errorf("listen (%s) is the wildcard %s: --advertise HOST:PORT must say how others reach this instance",
				c.Origin("listen"), c.Listen)
		}
		c.Advertise = c.Listen
		c.texts["advertise"] = c.Listen
	}
	if len(c.Peers) == 0 {
		c.Peers = []string{c.Advertise}
		c.texts["peer"] = c.Advertise
	}
	if c.HTTPListen != "" && c.HTTPListen == c.Listen {
		return fmt.Errorf("listen and http-listen are both %s", c.Listen)
	}
	if c.AdminPasswordFile != "" && !c.AdminPassword.Empty() {
		return fmt.Errorf("the admin password is given twice: %s and %s", c.Origin("admin-password-file"),
			c.Origin("admin-password"))
	}
	return nil
}

// parseFlags reads "--name value", "--name=value" and "--switch"; repeated lists add up, of other flags the last counts.
func parseFlags(args []string) (map[string]setting, error) {
	params, names := paramsByName(func(p Param) bool { return !p.NoFlag })
	found := make(map[string]setting)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "-h" || arg == "--help" {
			return nil, ErrHelp
		}
		if !strings.HasPrefix(arg, "-") {
			return nil, fmt.Errorf("unexpected argument %q: values follow their flag, as in --listen 127.0.0.1:3301", arg)
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		p, ok := params[name]
		if !ok {
			bare := strings.TrimLeft(name, "-")
			meant := didYouMean(bare, names, "--")
			if meant == "" {
				meant = "; --help lists the flags"
			}
			return nil, fmt.Errorf("unknown flag %s%s", strings.SplitN(arg, "=", 2)[0], meant)
		}
		switch {
		case hasValue:
		case p.IsBool():
			value = "true"
		case i+1 < len(args):
			i++
			value = args[i]
		default:
			return nil, fmt.Errorf("flag --%s needs a value", name)
		}
		if _, isList := p.field(new(Config)).(*[]string); isList && found[name].text != "" {
			value = found[name].text + "," + value
		}
		found[name] = setting{text: value, origin: Origin{Source: FromFlag, Place: "--" + name}}
	}
	return found, nil
}

// clientEnv are the variables of the commands that ask a running instance.
func clientEnv() []string { return []string{"LYCOSA_PEER", "LYCOSA_USER", "LYCOSA_PASSWORD_FILE"} }

// parseEnv picks LYCOSA_* from the environment. An empty variable counts as not set. Unknown names make one warning.
func parseEnv(environ []string) (map[string]setting, []string) {
	byEnv := make(map[string]Param)
	names := clientEnv()
	for _, p := range Table() {
		if !p.NoEnv {
			byEnv[p.EnvName()] = p
			names = append(names, p.EnvName())
		}
	}
	found := make(map[string]setting)
	var unknown []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "LYCOSA_") {
			continue
		}
		if p, ok := byEnv[name]; ok {
			if value != "" {
				found[p.Name] = setting{text: value, origin: Origin{Source: FromEnv, Place: name}}
			}
		} else if !contains(clientEnv(), name) {
			if n, ok := Nearest(name, names); ok {
				name += " (did you mean " + n + "?)"
			}
			unknown = append(unknown, name)
		}
	}
	if unknown == nil {
		return found, nil
	}
	sort.Strings(unknown)
	return found, []string{"unknown environment variables are ignored: " + strings.Join(unknown, ", ")}
}

func paramsByName(keep func(Param) bool) (map[string]Param, []string) {
	params := make(map[string]Param)
	var names []string
	for _, p := range Table() {
		if keep(p) {
			params[p.Name] = p
			names = append(names, p.Name)
		}
	}
	return params, names
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
