package wif

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// A function is a function that CEL's standard library lacks.
type function struct {
	name, id string
	args     []*types.Type // a method's first one is what it is called on
	result   *types.Type
	call     func(args []ref.Val) ref.Val
	cost     cost.QuantityExpr // nil: that of any call
	global   bool              // called by its name, on nothing
}

// functions returns the declarations of Google's functions, and what they cost.
// Google documents extract, split, join and lowerAscii, all but the first from
// cel-go's strings; its own compiler knows best what a provider may say, so the
// others of the strings are here too: undocumented tells. They give what
// cel-go's give, which FuzzGCPLanguage holds; only format, a language of its own,
// is declared and not evaluated: its value is unknown, and so is the verdict that
// depends on it.
func functions() ([]*decls.FunctionDecl, []cost.OverloadModel, error) {
	var (
		all   []*decls.FunctionDecl
		costs []cost.OverloadModel
		errs  []error
	)
	table := functionTable()
	for len(table) > 0 {
		name := table[0].name
		var options []decls.FunctionOpt
		for len(table) > 0 && table[0].name == name {
			f := table[0]
			table = table[1:]
			binding := decls.FunctionBinding(func(args ...ref.Val) ref.Val { return f.call(args) })
			switch len(f.args) {
			case 1:
				binding = decls.UnaryBinding(func(a ref.Val) ref.Val { return f.call([]ref.Val{a}) })
			case 2:
				binding = decls.BinaryBinding(func(a, b ref.Val) ref.Val { return f.call([]ref.Val{a, b}) })
			}
			if f.global {
				options = append(options, decls.Overload(f.id, f.args, f.result, binding))
			} else {
				options = append(options, decls.MemberOverload(f.id, f.args, f.result, binding))
			}
			if f.cost != nil {
				costs = append(costs, cost.MemberOverload(f.id, cost.EvalCost(f.cost)))
			}
		}
		declared, err := decls.NewFunction(name, options...)
		all, errs = append(all, declared), append(errs, err)
	}
	return all, costs, errors.Join(errs...)
}

// functionTable has the overloads of a function beside each other.
func functionTable() []function {
	var (
		text, number = types.StringType, types.IntType
		texts        = types.NewListType(text)
		of           = func(all ...*types.Type) []*types.Type { return all }
		one          = cost.Const(1)
		call         = cost.Const(cost.CallCost)
		size         = cost.Length(cost.Target())
		made         = cost.Length(cost.Result())
		plus         = func(all ...cost.QuantityExpr) cost.QuantityExpr {
			return cost.Sum(append([]cost.QuantityExpr{call}, all...)...)
		}
		some = cost.AtLeastOneQuantity
		// Read once, and written once.
		transform = plus(cost.StringScan(size), made)
		search    = plus(cost.StringScan(cost.Mul(size, cost.Length(cost.Arg(0)))))
		replacing = plus(cost.StringScan(cost.Mul(some(size), some(cost.Length(cost.Arg(0))))), made)
		joining   = plus(cost.StringScan(cost.Sum(size, one)), made)
		splitting = cost.AllocList(cost.StringScan(cost.Sum(size, one)), made)
	)
	return []function{
		{"extract", "string_extract_string", of(text, text), text, extractValue, nil, false},
		{"charAt", "string_char_at_int", of(text, number), text, charAt, plus(one, cost.StringScan(size)), false},
		{"format", "string_format", of(text, types.NewListType(types.DynType)), text, notEvaluated, nil, false},
		{"indexOf", "string_index_of_string", of(text, text), number, indexOf, search, false},
		{"indexOf", "string_index_of_string_int", of(text, text, number), number, indexOf, search, false},
		{"join", "list_join", of(texts), text, join, joining, false},
		{"join", "list_join_string", of(texts, text), text, join, joining, false},
		{"lastIndexOf", "string_last_index_of_string", of(text, text), number, lastIndexOf, search, false},
		{"lastIndexOf", "string_last_index_of_string_int", of(text, text, number), number, lastIndexOf, search, false},
		{"lowerAscii", "string_lower_ascii", of(text), text, mapped(lowerASCII), transform, false},
		{"replace", "string_replace_string_string", of(text, text, text), text, replace, replacing, false},
		{"replace", "string_replace_string_string_int", of(text, text, text, number), text, replace, replacing, false},
		{"reverse", "string_reverse", of(text), text, mapped(reversed), transform, false},
		{"split", "string_split_string", of(text, text), texts, split, splitting, false},
		{"split", "string_split_string_int", of(text, text, number), texts, split, splitting, false},
		{"strings.quote", "strings_quote", of(text), text, mapped(celQuoted), nil, true},
		{"substring", "string_substring_int", of(text, number), text, substring, transform, false},
		{"substring", "string_substring_int_int", of(text, number, number), text, substring, transform, false},
		{"trim", "string_trim", of(text), text, mapped(strings.TrimSpace), transform, false},
		{"upperAscii", "string_upper_ascii", of(text), text, mapped(upperASCII), transform, false},
	}
}

// What follows is called with the types of the table alone: the interpreter looks
// for an overload that fits before it calls one.

func stringOf(v ref.Val) string { s, _ := v.(types.String); return string(s) }

func intOf(v ref.Val) int { n, _ := v.(types.Int); return int(n) }

func mapped(f func(string) string) func([]ref.Val) ref.Val {
	return func(args []ref.Val) ref.Val { return types.String(f(stringOf(args[0]))) }
}

// notEvaluated is the value of what this program does not evaluate. It is not an
// error, for an error would be a refusal, which it may not be.
func notEvaluated([]ref.Val) ref.Val { return types.NewUnknown(0, nil) }

func outside(i int) ref.Val { return types.NewErr("index out of range: %d", i) }

func charAt(args []ref.Val) ref.Val {
	all, i := []rune(stringOf(args[0])), intOf(args[1])
	switch {
	case i < 0 || i > len(all):
		return outside(i)
	case i == len(all):
		return types.String("")
	}
	return types.String(string(all[i]))
}

// indexOf counts in characters, and so does lastIndexOf.
func indexOf(args []ref.Val) ref.Val {
	all, part, from := []rune(stringOf(args[0])), stringOf(args[1]), 0
	if len(args) == 3 {
		from = intOf(args[2])
	}
	switch {
	case from < 0:
		return outside(from)
	case part == "":
		return types.Int(min(from, len(all)))
	case from >= len(all):
		return types.Int(-1)
	}
	rest := string(all[from:])
	at := strings.Index(rest, part)
	if at < 0 {
		return types.Int(-1)
	}
	return types.Int(from + utf8.RuneCountInString(rest[:at]))
}

func lastIndexOf(args []ref.Val) ref.Val {
	all, part := []rune(stringOf(args[0])), stringOf(args[1])
	last := max(0, len(all)-1) // where it may begin at the latest
	if len(args) == 3 {
		last = intOf(args[2])
	}
	switch {
	case last < 0:
		return outside(last)
	case part == "" && len(args) == 2:
		return types.Int(len(all))
	case part == "":
		return types.Int(min(last, len(all)))
	case last >= len(all):
		return types.Int(-1)
	}
	begin := string(all[:min(len(all), last+utf8.RuneCountInString(part))])
	at := strings.LastIndex(begin, part)
	if at < 0 {
		return types.Int(-1)
	}
	return types.Int(utf8.RuneCountInString(begin[:at]))
}

func join(args []ref.Val) ref.Val {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	separator := ""
	if len(args) == 2 {
		separator = stringOf(args[1])
	}
	var all []string
	for it := list.Iterator(); it.HasNext() == types.True; {
		v := it.Next()
		s, ok := v.(types.String)
		if !ok {
			return types.NewErr("join: invalid input: %v", v)
		}
		all = append(all, string(s))
	}
	return types.String(strings.Join(all, separator))
}

func split(args []ref.Val) ref.Val {
	n := -1
	if len(args) == 3 {
		n = intOf(args[2])
	}
	return types.NewStringList(types.DefaultTypeAdapter, strings.SplitN(stringOf(args[0]), stringOf(args[1]), n))
}

func replace(args []ref.Val) ref.Val {
	n := -1
	if len(args) == 4 {
		n = intOf(args[3])
	}
	return types.String(strings.Replace(stringOf(args[0]), stringOf(args[1]), stringOf(args[2]), n))
}

func substring(args []ref.Val) ref.Val {
	all, from := []rune(stringOf(args[0])), intOf(args[1])
	to := len(all)
	if len(args) == 3 {
		if to = intOf(args[2]); from > to {
			return types.NewErr("invalid substring range. start: %d, end: %d", from, to)
		}
	}
	if from < 0 || from > len(all) {
		return outside(from)
	}
	if to > len(all) {
		return outside(to)
	}
	return types.String(string(all[from:to]))
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func upperASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r + 'A' - 'a'
		}
		return r
	}, s)
}

func reversed(s string) string {
	all := []rune(s)
	slices.Reverse(all)
	return string(all)
}

// celQuoted writes a text as one of CEL's literals.
func celQuoted(s string) string {
	return `"` + strings.NewReplacer("\a", `\a`, "\b", `\b`, "\f", `\f`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\v", `\v`,
		`\`, `\\`, `"`, `\"`).Replace(strings.ToValidUTF8(s, "\uFFFD")) + `"`
}
