package wif

import (
	"cmp"
	"fmt"
	"slices"

	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/containers"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/stdlib"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A language is CEL with Google's functions: cel-go's parser, checker and
// interpreter, put together here. Its packages cel and ext, which do the same,
// bring YAML, descriptors and the world's number formats into the binary: 3.5 MB,
// and a third of what cel-go costs at every start. FuzzGCPLanguage holds the two
// against each other. It is made where a document is read: that takes
// milliseconds, which no other command should pay.
type language struct {
	parser  *parser.Parser
	checker *checker.Env
	planner interpreter.Interpreter
	costs   *cost.Tracker // to be cloned for each evaluation
}

func newLanguage(variables ...string) (language, error) {
	l, err := assembleLanguage(variables)
	if err != nil {
		return language{}, fault.New(fault.Internal, "cannot set up CEL: %w", err)
	}
	return l, nil
}

func assembleLanguage(variables []string) (language, error) {
	own, costs, err := functions()
	if err != nil {
		return language{}, err
	}
	functions := slices.Concat(stdlib.Functions(), own)
	macros := parser.AllMacros
	registry, err := types.NewRegistry()
	if err != nil {
		return language{}, err
	}
	var l language
	// PopulateMacroCalls: so that an expression can be written again.
	l.parser, err = parser.NewParser(parser.Macros(macros...), parser.PopulateMacroCalls(true))
	if err != nil {
		return language{}, err
	}
	known := func() *env.Catalog { return catalog(variables, functions, macros) }
	if l.checker, err = checker.NewEnv(containers.DefaultContainer, registry, checker.Catalog(known)); err != nil {
		return language{}, err
	}
	for _, name := range variables {
		if err := l.checker.AddIdents(decls.NewVariable(name, types.NewMapType(types.StringType, types.DynType))); err != nil {
			return language{}, err
		}
	}
	dispatcher := interpreter.NewDispatcher()
	for _, f := range functions {
		bindings, err := f.Bindings()
		if err != nil {
			return language{}, err
		}
		if err := dispatcher.Add(bindings...); err != nil {
			return language{}, err
		}
		if err := l.checker.AddFunctions(f); err != nil {
			return language{}, err
		}
	}
	attributes := interpreter.NewAttributeFactory(containers.DefaultContainer, registry, registry)
	l.planner = interpreter.NewInterpreter(dispatcher, containers.DefaultContainer, registry, registry, attributes)
	l.costs, err = cost.NewTracker(nil, cost.Model(costs...), cost.TrackerLimit(maxCost))
	return l, err
}

// catalog is what the checker looks through for what was meant instead.
func catalog(variables []string, functions []*decls.FunctionDecl, macros []parser.Macro) *env.Catalog {
	c := env.NewCatalog()
	add := func(name string, kind env.SymbolKind) { c.Add(&env.CatalogSymbol{Name: name, Kind: kind}) }
	for _, name := range variables {
		add(name, env.VariableKind)
	}
	for _, f := range functions {
		add(f.Name(), env.FunctionKind)
	}
	for _, t := range stdlib.Types() {
		add(t.Name(), env.TypeKind)
	}
	for _, m := range macros {
		add(m.Function(), env.MacroKind)
	}
	return c
}

// parse returns an expression's tree and where its text is; or its mistakes, by
// their places.
func (l language) parse(text string) (*ast.AST, common.Source, []*common.Error) {
	source, err := common.NewTextSourceWithLimit(text, maxSource)
	if err != nil {
		return nil, nil, []*common.Error{common.NewError(0, err.Error(), common.NoLocation)}
	}
	parsed, errs := l.parser.Parse(source)
	return parsed, source, inOrder(errs.GetErrors())
}

// check parses and checks an expression.
func (l language) check(text string) (*ast.AST, []*common.Error) {
	parsed, source, mistakes := l.parse(text)
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	checked, errs := checker.Check(parsed, source, l.checker)
	if len(errs.GetErrors()) > 0 {
		return nil, inOrder(errs.GetErrors())
	}
	return checked, nil
}

func inOrder(all []*common.Error) []*common.Error {
	slices.SortStableFunc(all, func(a, b *common.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	return all
}

// A program is an expression that can be evaluated, any number of times.
type program struct{ interpreter.InterpretableV2 }

// plan makes a program of a checked expression, bounded in cost and memory. It is
// an error when a regular expression is too long to be run.
func (l language) plan(checked *ast.AST) (*program, error) {
	p, err := l.planner.NewInterpretable(checked,
		interpreter.RegexProgramSizeLimit(maxRegexp),
		interpreter.CostObserver(interpreter.CostTrackerFactory(l.costs.Clone)),
		interpreter.MemoryObserver(interpreter.MemoryTrackerFactory(func() (*types.MemoryTracker, error) {
			return types.NewMemoryTracker(types.MemoryTrackerLimit(maxMemory)), nil
		})))
	if err != nil {
		return nil, err
	}
	return &program{p}, nil
}

// eval evaluates the program and returns what that cost. An error is CEL's own, or
// an interpreter.EvalCancelledError for what goes beyond a limit.
func (p *program) eval(vars map[string]any) (v ref.Val, spent uint64, err error) {
	frame, err := interpreter.NewExecutionFrame(vars)
	if err != nil {
		return nil, 0, err
	}
	defer frame.Close()
	// The interpreter ends what goes beyond a limit by a panic.
	defer func() {
		if t := frame.CostTracker(); t != nil {
			spent = t.ActualCost()
		}
		switch r := recover().(type) {
		case nil:
		case interpreter.EvalCancelledError:
			v, err = nil, r
		case cost.LimitExceededError:
			v, err = nil, interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: r.Message}
		default:
			v, err = nil, fmt.Errorf("internal error: %v", r)
		}
	}()
	v = p.Exec(frame)
	if failed, ok := v.(*types.Err); ok {
		return v, 0, failed
	}
	return v, 0, nil
}
