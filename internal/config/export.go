package config

import (
	"encoding/json"
	"fmt"
)

// exported is the form in which a parent process hands the configuration to its child, so that a file changed in between
// changes nothing. Secrets are not in it.
type exported struct {
	Values map[string]exportedValue `json:"values"`
	Tiers  map[string]Tier          `json:"tiers,omitempty"`
}

type exportedValue struct {
	Text   string `json:"text"`
	Origin Origin `json:"origin"`
}

// Export writes the configuration without its secrets.
func (c *Config) Export() ([]byte, error) {
	e := exported{Values: make(map[string]exportedValue), Tiers: c.Tiers}
	for _, p := range Table() {
		if !p.Secret {
			e.Values[p.Name] = exportedValue{Text: c.texts[p.Name], Origin: c.Origin(p.Name)}
		}
	}
	return json.Marshal(e)
}

// Import reads what Export wrote.
func Import(data []byte) (*Config, error) {
	var e exported
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("config: read the handed-on parameters: %w", err)
	}
	c := &Config{Tiers: e.Tiers, origins: make(map[string]Origin), texts: make(map[string]string)}
	for _, p := range Table() {
		v := e.Values[p.Name]
		if err := c.store(p, setting{text: v.Text, origin: v.Origin}, false); err != nil && !p.Secret {
			return nil, fmt.Errorf("config: handed-on parameter %s: %w", p.Name, err)
		}
	}
	return c, c.complete()
}
