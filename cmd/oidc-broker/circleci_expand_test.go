package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A circleConfig is a configuration that can be expanded as CircleCI does it:
// parameters and their defaults, conditions, commands within commands, orbs.
type circleConfig struct {
	scope
	// published says that booleans of an orb's parameters become 1 and 0, as in
	// one from the registry, and not true and false, as within a configuration.
	published bool
}

// A scope is where names of commands, jobs and executors are looked up: a
// configuration, or an orb.
type scope struct {
	top  map[string]any
	orbs map[string]scope
	orb  bool
}

// A circleJob is what is left to do.
type circleJob struct {
	shell string // of the job or its executor; "" is CircleCI's own choice
	env   map[string]string
	steps []circleStep
}

// A circleStep is a run step, or one of CircleCI's own, whose kind alone is kept.
type circleStep struct {
	kind                            string
	name, command, shell, dir, when string
	env                             map[string]string
}

// newCircleConfig reads a configuration. Each orb that it names is to be one of
// those given, by name without a version.
func newCircleConfig(name string, text []byte, orbs map[string]map[string]any) (*circleConfig, error) {
	top, err := parseYAML(name, text)
	if err != nil {
		return nil, err
	}
	c := &circleConfig{scope: scope{top: top, orbs: map[string]scope{}}, published: true}
	for alias, reference := range section(top, "orbs") {
		if inline, ok := reference.(map[string]any); ok {
			c.orbs[alias] = scope{top: inline, orb: true}
			c.published = false
			continue
		}
		orb, version, _ := strings.Cut(fmt.Sprint(reference), "@")
		if orbs[orb] == nil || version == "" {
			return nil, fmt.Errorf("%s: the orb %v is not known here", name, reference)
		}
		c.orbs[alias] = scope{top: orbs[orb], orb: true}
	}
	return c, nil
}

func section(m map[string]any, key string) map[string]any {
	s, _ := m[key].(map[string]any)
	return s
}

// find returns what a name stands for, and the scope that it was written in.
func (s scope) find(kind, name string) (map[string]any, scope, bool) {
	if alias, inner, ok := strings.Cut(name, "/"); ok {
		orb, known := s.orbs[alias]
		found, ok := section(orb.top, kind)[inner].(map[string]any)
		return found, orb, known && ok
	}
	found, ok := section(s.top, kind)[name].(map[string]any)
	return found, s, ok
}

// jobs returns the names of the jobs that the workflows run, in order.
func (c *circleConfig) jobs() []string {
	var names []string
	for _, workflow := range slices.Sorted(maps.Keys(section(c.top, "workflows"))) {
		c.invocations(workflow, func(name string, _ string, _ map[string]any) { names = append(names, name) })
	}
	return names
}

// invocations calls do with each job of a workflow: the name that it runs under,
// that of the job, and what it is given.
func (c *circleConfig) invocations(workflow string, do func(name, job string, given map[string]any)) {
	items, _ := section(section(c.top, "workflows"), workflow)["jobs"].([]any)
	for _, item := range items {
		switch i := item.(type) {
		case string:
			do(i, i, nil)
		case map[string]any:
			for job, given := range i {
				g, _ := given.(map[string]any)
				name, ok := g["name"].(string)
				if !ok {
					name = job
				}
				do(name, job, g)
			}
		}
	}
}

// job expands the job that a workflow runs under this name.
func (c *circleConfig) job(name string) (*circleJob, error) {
	var found string
	var given map[string]any
	for workflow := range section(c.top, "workflows") {
		c.invocations(workflow, func(as, job string, g map[string]any) {
			if as == name {
				found, given = job, g
			}
		})
	}
	if found == "" {
		return nil, fmt.Errorf("no workflow has a job %q", name)
	}
	definition, within, ok := c.find("jobs", found)
	if !ok {
		return nil, fmt.Errorf("there is no job %q", found)
	}
	given = maps.Clone(given)
	before, after := given["pre-steps"], given["post-steps"]
	for _, word := range []string{"name", "context", "requires", "filters", "type", "pre-steps", "post-steps"} {
		delete(given, word)
	}
	e := expander{published: c.published}
	params, err := e.settle("job "+found, definition, within, given, c.scope)
	if err != nil {
		return nil, err
	}
	job := &circleJob{env: map[string]string{}}
	if err := e.place(job, definition, within, params); err != nil {
		return nil, err
	}
	own, err := e.steps(definition["steps"], within, params)
	if err != nil {
		return nil, err
	}
	first, err := e.steps(before, c.scope, nil)
	if err != nil {
		return nil, err
	}
	last, err := e.steps(after, c.scope, nil)
	job.steps = slices.Concat(first, own, last)
	return job, err
}

// place takes shell and environment from the executor and the job.
func (e expander) place(job *circleJob, definition map[string]any, within scope, params map[string]any) error {
	value, err := e.expand(definition["executor"], params)
	if err != nil {
		return err
	}
	var executor map[string]any
	if value != nil {
		if executor, err = e.executor(value, within); err != nil {
			return err
		}
	}
	for _, from := range []map[string]any{executor, definition} {
		if shell, ok := from["shell"].(string); ok {
			job.shell = shell
		}
		environment, err := e.environment(from["environment"], params)
		if err != nil {
			return err
		}
		maps.Copy(job.env, environment)
	}
	return nil
}

// executor returns an executor that a value names, with its parameters put in.
func (e expander) executor(value any, from scope) (map[string]any, error) {
	given := map[string]any{}
	name := ""
	switch v := value.(type) {
	case string:
		name = v
	case map[string]any:
		if _, ready := v["name"]; !ready {
			return v, nil // expanded where it was written
		}
		given = maps.Clone(v)
		name, _ = v["name"].(string)
		delete(given, "name")
	}
	definition, within, ok := from.find("executors", name)
	if !ok {
		return nil, fmt.Errorf("there is no executor %q", name)
	}
	params, err := e.settle("executor "+name, definition, within, given, from)
	if err != nil {
		return nil, err
	}
	expanded, err := e.expand(without(definition, "parameters", "description"), params)
	if err != nil {
		return nil, err
	}
	return expanded.(map[string]any), nil
}

func without(m map[string]any, keys ...string) map[string]any {
	m = maps.Clone(m)
	for _, key := range keys {
		delete(m, key)
	}
	return m
}

// An expander puts parameters in.
type expander struct{ published bool }

// settle returns the parameters of a definition: what is given, else the default,
// each of its type.
func (e expander) settle(what string, definition map[string]any, within scope, given map[string]any, from scope) (map[string]any, error) {
	declared := section(definition, "parameters")
	for name := range given {
		if declared[name] == nil {
			return nil, fmt.Errorf("%s has no parameter %q", what, name)
		}
	}
	params := map[string]any{}
	for name := range declared {
		d := section(declared, name)
		value, ok := given[name]
		written := from
		if !ok {
			if value, ok = d["default"]; !ok {
				return nil, fmt.Errorf("%s: the parameter %q is missing", what, name)
			}
			written = within
		}
		if err := typed(d, value); err != nil {
			return nil, fmt.Errorf("%s: the parameter %q: %w", what, name, err)
		}
		if d["type"] == "executor" {
			executor, err := e.executor(value, written)
			if err != nil {
				return nil, err
			}
			value = executor
		}
		if yes, ok := value.(bool); ok && within.orb {
			value = boolean{yes, e.published}
		}
		params[name] = value
	}
	return params, nil
}

// A boolean is one of a parameter, which knows how it is written.
type boolean struct{ yes, published bool }

func (b boolean) String() string {
	if b.published {
		return map[bool]string{true: "1", false: "0"}[b.yes]
	}
	return strconv.FormatBool(b.yes)
}

func typed(declared map[string]any, value any) error {
	kind := fmt.Sprint(declared["type"])
	if b, ok := value.(boolean); ok {
		value = b.yes
	}
	ok := false
	switch kind {
	case "string":
		_, ok = value.(string)
	case "boolean":
		_, ok = value.(bool)
	case "integer":
		_, ok = value.(int)
	case "enum":
		allowed, _ := declared["enum"].([]any)
		ok = slices.Contains(allowed, value)
	case "env_var_name":
		name, _ := value.(string)
		ok = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name)
	case "steps":
		_, ok = value.([]any)
	case "executor":
		ok = value != nil
	}
	if !ok {
		return fmt.Errorf("%#v is no %s", value, kind)
	}
	return nil
}

// expand puts parameters into a tree. A text that is nothing but a reference
// becomes the parameter itself, of its own type.
func (e expander) expand(tree any, params map[string]any) (any, error) {
	reference := regexp.MustCompile(`\\?<<\s*(.*?)\s*>>`)
	return walk(tree, func(text string) (any, error) {
		var err error
		value := func(match string) any {
			name, ok := strings.CutPrefix(reference.FindStringSubmatch(match)[1], "parameters.")
			v, known := params[name]
			if !ok || !known {
				err = fmt.Errorf("%s stands for nothing", match)
			}
			return v
		}
		if whole := reference.FindString(text); whole != "" && whole == strings.TrimSpace(text) && whole[0] != '\\' {
			v := value(whole)
			return v, err
		}
		text = reference.ReplaceAllStringFunc(text, func(match string) string {
			if match[0] == '\\' {
				return match
			}
			return fmt.Sprint(value(match))
		})
		return strings.ReplaceAll(text, `\<<`, "<<"), err
	})
}

// environment expands a mapping of variables.
func (e expander) environment(tree any, params map[string]any) (map[string]string, error) {
	expanded, err := e.expand(tree, params)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	m, _ := expanded.(map[string]any)
	for name, value := range m {
		env[name] = variable(value)
	}
	return env, nil
}

// variable is how a value ends up in the environment: a number of more than six
// digits, as an account's, does so as CircleCI writes it.
func variable(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case int:
		if v >= 1e6 {
			return strconv.FormatFloat(float64(v), 'e', -1, 64)
		}
	}
	return fmt.Sprint(value)
}

// steps expands a list of steps.
func (e expander) steps(tree any, within scope, params map[string]any) ([]circleStep, error) {
	if tree == nil {
		return nil, nil
	}
	items, ok := tree.([]any)
	if !ok {
		return nil, fmt.Errorf("the steps are no list: %v", tree)
	}
	var all []circleStep
	for _, item := range items {
		steps, err := e.step(item, within, params)
		if err != nil {
			return nil, err
		}
		all = append(all, steps...)
	}
	return all, nil
}

func (e expander) step(item any, within scope, params map[string]any) ([]circleStep, error) {
	if text, ok := item.(string); ok {
		expanded, err := e.expand(text, params)
		if err != nil {
			return nil, err
		}
		if name, ok := expanded.(string); ok {
			return e.call(name, map[string]any{}, within)
		}
		return e.steps(expanded, within, nil) // a parameter of type steps
	}
	m, ok := item.(map[string]any)
	if !ok || len(m) != 1 {
		return nil, fmt.Errorf("a step has one key: %v", item)
	}
	for kind, body := range m {
		if kind == "when" || kind == "unless" {
			return e.conditional(kind, body, within, params)
		}
		expanded, err := e.expand(body, params)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		if kind == "run" {
			step, err := run(expanded)
			return []circleStep{step}, err
		}
		given, _ := expanded.(map[string]any)
		return e.call(kind, given, within)
	}
	panic("unreachable")
}

// conditional expands the steps of when and unless, whose parameters may stand in
// any of them.
func (e expander) conditional(kind string, body any, within scope, params map[string]any) ([]circleStep, error) {
	m, _ := body.(map[string]any)
	condition, err := e.expand(m["condition"], params)
	if err != nil {
		return nil, err
	}
	yes, err := holds(condition)
	if err != nil || yes != (kind == "when") {
		return nil, err
	}
	return e.steps(m["steps"], within, params)
}

// holds evaluates a condition.
func holds(condition any) (bool, error) {
	switch c := condition.(type) {
	case nil:
		return false, nil
	case bool:
		return c, nil
	case boolean:
		return c.yes, nil
	case string:
		return c != "", nil
	case int:
		return c != 0, nil
	case map[string]any:
		if len(c) == 1 {
			for operator, operand := range c {
				return logic(operator, operand)
			}
		}
	}
	return false, fmt.Errorf("%v is no condition", condition)
}

func logic(operator string, operand any) (bool, error) {
	if operator == "not" {
		yes, err := holds(operand)
		return !yes, err
	}
	operands, ok := operand.([]any)
	if !ok || len(operands) == 0 {
		return false, fmt.Errorf("%s takes a list", operator)
	}
	switch operator {
	case "and", "or":
		for _, o := range operands {
			yes, err := holds(o)
			if err != nil || yes == (operator == "or") {
				return yes, err
			}
		}
		return operator == "and", nil
	case "equal":
		for _, o := range operands[1:] {
			if o != operands[0] {
				return false, nil
			}
		}
		return true, nil
	}
	return false, fmt.Errorf("the operator %s is not known here", operator)
}

// call expands a command, or keeps a step that is CircleCI's own.
func (e expander) call(name string, given map[string]any, from scope) ([]circleStep, error) {
	definition, within, ok := from.find("commands", name)
	if !ok {
		switch name {
		case "checkout", "setup_remote_docker", "save_cache", "restore_cache", "store_artifacts", "store_test_results", "persist_to_workspace", "attach_workspace":
			return []circleStep{{kind: name}}, nil
		}
		return nil, fmt.Errorf("there is no command %q", name)
	}
	params, err := e.settle("command "+name, definition, within, given, from)
	if err != nil {
		return nil, err
	}
	return e.steps(definition["steps"], within, params)
}

// run reads a run step.
func run(body any) (circleStep, error) {
	s := circleStep{kind: "run", when: "on_success", env: map[string]string{}}
	m, ok := body.(map[string]any)
	if !ok {
		m = map[string]any{"command": body}
	}
	for key, value := range m {
		switch key {
		case "environment":
			environment, _ := value.(map[string]any)
			for name, v := range environment {
				s.env[name] = variable(v)
			}
		case "name":
			s.name = fmt.Sprint(value)
		case "command":
			s.command, ok = value.(string)
			if !ok {
				return s, fmt.Errorf("the command of a run step is no text: %v", value)
			}
		case "shell":
			s.shell = fmt.Sprint(value)
		case "working_directory":
			s.dir = fmt.Sprint(value)
		case "when":
			s.when = fmt.Sprint(value)
		case "no_output_timeout":
		default:
			return s, fmt.Errorf("a run step has no %q here", key)
		}
	}
	if s.command == "" {
		return s, fmt.Errorf("a run step has no command: %v", body)
	}
	if s.name == "" {
		s.name, _, _ = strings.Cut(s.command, "\n")
	}
	return s, nil
}
