package trace

import "strings"

// ProfilerStep is what the names of torch's profiler steps begin with; each has its number behind it.
const ProfilerStep = "ProfilerStep"

// NoName stands where a reader is shown the name of a slice that has none.
const NoName = "(no name)"

// IsProfilerStep reports whether name is that of one of torch's profiler steps, such as ProfilerStep#12.
func IsProfilerStep(name string) bool {
	rest, ok := strings.CutPrefix(name, ProfilerStep)
	if !ok {
		return false
	}
	rest = strings.TrimLeft(strings.TrimPrefix(strings.TrimLeft(rest, " \t"), "#"), " \t")
	return rest != "" && rest[0]-'0' <= 9
}

// CommonName returns what a slice's name has in common with the names of others that do the same work, of this trace
// and of others: a profiler step has no number, nothing has addresses of objects.
func CommonName(name string) string {
	if IsProfilerStep(name) {
		return ProfilerStep
	}
	return WithoutAddresses(name)
}

// WithoutAddresses returns name without the addresses of objects, such as the end of
// "<built-in method recv of Socket object at 0x7f3a11>" but for its bracket.
func WithoutAddresses(name string) string {
	const before = " at 0x"
	for from := 0; ; {
		i := strings.Index(name[from:], before)
		if i < 0 {
			return name
		}
		i += from
		rest := strings.TrimLeft(name[i+len(before):], "0123456789abcdefABCDEF")
		if from = i; len(rest) == len(name)-i-len(before) {
			from = i + len(before) // no digit: a text
			continue
		}
		name = name[:i] + rest
	}
}
