package policy

import (
	"encoding/json"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The parts of SARIF 2.1.0 that code scanners show.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		URI     string      `json:"informationUri"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID         string         `json:"id"`
		Properties map[string]any `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID     string          `json:"ruleId"`
		Level      string          `json:"level"`
		Message    sarifText       `json:"message"`
		Locations  []sarifLocation `json:"locations"`
		Properties map[string]any  `json:"properties"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region sarifRegion `json:"region"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
	}
)

// SARIF returns the findings about a file in the Static Analysis Results
// Interchange Format (OASIS SARIF 2.1.0 §3). uri is the file's name, version the
// program's.
func SARIF(all []Finding, uri, version string) ([]byte, error) {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "oidc-broker", URI: "https://github.com/oidc-broker/oidc-broker", Version: version, Rules: []sarifRule{}}
	known := map[string]bool{}
	for _, f := range all {
		if !known[f.ID] {
			known[f.ID] = true
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{f.ID, map[string]any{"security-severity": f.Severity.score()}})
		}
		at := sarifLocation{}
		at.Physical.Artifact.URI = uri
		at.Physical.Region = sarifRegion{max(f.Line, 1), max(f.Column, 1)}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.ID, Level: f.Severity.level(), Message: sarifText{f.Message + ". Fix: " + f.Fix},
			Locations:  []sarifLocation{at},
			Properties: map[string]any{"severity": f.Severity, "witness": f.Witness, "fix": f.Fix, "where": f.Where},
		})
	}
	b, err := json.MarshalIndent(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}, "", "  ")
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write SARIF")
	}
	return append(b, '\n'), nil
}

// level is SARIF's word.
func (s Severity) level() string {
	switch s {
	case Critical, High:
		return "error"
	case Medium:
		return "warning"
	}
	return "note"
}

// score is on CVSS's scale, by which scanners sort.
func (s Severity) score() string {
	switch s {
	case Critical:
		return "9.5"
	case High:
		return "8.0"
	case Medium:
		return "5.0"
	}
	return "1.0"
}

// AtLeast says that a severity is as bad as other, or worse.
func (s Severity) AtLeast(other Severity) bool {
	rank := func(x Severity) int {
		for i, known := range Severities() {
			if known == x {
				return i
			}
		}
		return len(Severities())
	}
	return rank(s) <= rank(other)
}
