package gcp

import (
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// parseLifetime returns whole seconds. gcloud lets a fraction into the file,
// and clients in Go then cannot read it.
func parseLifetime(text string) (int, error) {
	f := durationFlag{name: "service-account-token-lifetime-seconds", unit: "s", perSecond: 1, low: 600, high: 43200, bounds: "600s and 43200s"}
	v, err := f.parse(text)
	if err == nil && v != float64(int(v)) {
		err = fault.New(fault.Usage, "%s %s is not in whole seconds", f.name, show(text))
	}
	return int(v), err
}

// parseTimeout returns whole milliseconds.
func parseTimeout(text string) (int, error) {
	f := durationFlag{name: "executable-timeout-millis", unit: "ms", perSecond: 1000, low: 5000, high: 120000, bounds: "5s and 120s"}
	v, err := f.parse(text)
	return int(v), err
}

// durationFlag is a flag whose value gcloud reads as a duration.
type durationFlag struct {
	name      fault.Option
	unit      string // of a number alone, and of the result
	perSecond float64
	low, high float64
	bounds    string
}

// parse follows gcloud through its floating-point arithmetic, for its rounding
// shows in the file.
func (f durationFlag) parse(text string) (float64, error) {
	s := text
	if number := strings.TrimSpace(text); matches(`^[+-]?[0-9]+(?:_[0-9]+)*$`, number) { // as Python's int() has it
		s = strings.ReplaceAll(number, "_", "") + f.unit
	}
	var d duration
	if !d.read(s) {
		return 0, fault.New(fault.Usage, "%s %s is not a duration", f.name, show(text)).
			Hint("give a number with its unit, like 90s, 30m, 1h30m or PT1H; a number alone is in %s", f.unit)
	}
	seconds, ok := d.total()
	v := round(seconds*f.perSecond, 4)
	if !ok || v < f.low || v > f.high {
		return 0, fault.New(fault.Usage, "%s %s is not within %s", f.name, show(text), f.bounds)
	}
	return v, nil
}

// duration is an ISO 8601 duration in its parts, as far as gcloud wants them.
type duration struct{ years, months, days, hours, minutes, seconds float64 }

// read reads s, whose P and T may be left out; false: it is no duration.
func (d *duration) read(s string) bool {
	s = strings.ToUpper(s)
	amount, sign := "", ""
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		s, sign = rest, "-"
	} else {
		s = strings.TrimPrefix(s, "+")
	}
	s, months := strings.CutPrefix(s, "P") // with a P, an M before the T is a month
	separated := false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			amount += string(c)
		case c == '.', c == ',':
			amount += "."
		case c == 'T':
			if separated {
				return false
			}
			separated, months = true, false
		default:
			v, err := strconv.ParseFloat(sign+amount, 64)
			if err != nil {
				return false
			}
			if amount = ""; fraction(s[i:]) > 0 {
				d.seconds += v / fraction(s[i:])
				return true
			}
			if !d.add(c, v, &months) {
				return false
			}
		}
	}
	return amount == ""
}

// fraction tells how many of a unit a second has; 0: it is none of those that
// stand at the end alone.
func fraction(unit string) float64 {
	switch unit {
	case "MS":
		return 1e3
	case "US":
		return 1e6
	case "NS":
		return 1e9
	}
	return 0
}

func (d *duration) add(unit byte, v float64, months *bool) bool {
	if unit == 'M' && *months {
		d.months += v
		*months = false
		return true
	}
	switch unit {
	case 'Y':
		d.years += v
		return true
	case 'W':
		d.days += v * 7
		return true
	case 'D':
		d.days += v
		return true
	case 'H':
		d.hours += v
	case 'M':
		d.minutes += v
	case 'S':
		d.seconds += v
	default:
		return false
	}
	*months = false
	return true
}

// total returns the seconds. Fractions go down to the next smaller unit. Whole
// days are out of every bound: ok is false then.
func (d duration) total() (seconds float64, ok bool) {
	const daysPerYear = 365.2422
	var part float64
	d.years, part = percolate(d.years)
	d.days += daysPerYear * part
	d.months, part = percolate(d.months)
	d.days += float64(int(daysPerYear * part / 12))
	d.days, part = percolate(d.days)
	d.hours += 24 * part
	d.hours, part = percolate(d.hours)
	d.minutes += 60 * part
	d.minutes, part = percolate(d.minutes)
	d.seconds += 60 * part
	d.seconds, part = percolate(d.seconds)
	return part + d.seconds + 60*d.minutes + 3600*d.hours, d.years == 0 && d.months == 0 && d.days == 0
}

// percolate takes the whole part off, and rounds what is left.
func percolate(v float64) (whole, part float64) {
	if v > 1e12 || v < -1e12 { // out of every bound, perhaps of int64's too
		return v, 0
	}
	whole = float64(int64(v))
	return whole, round(round(v, 4)-whole, 4)
}

// round is Python's: to the decimal nearest to the exact value.
func round(v float64, places int) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', places, 64), 64)
	if err != nil {
		return v
	}
	return r
}
