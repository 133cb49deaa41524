package report

import (
	"slices"
	"strings"
)

// KernelName shortens the name of a C++ kernel to the parts that distinguish it: it removes return
// type, parameters and namespaces. If a kernel is only a frame around an operation, as torch's
// element-wise ones are, the operation comes first: "CUDAFunctor_add<float>
// (vectorized_elementwise)". Other names are returned unchanged.
func KernelName(s string) string {
	if !strings.ContainsAny(s, "<(") || !strings.Contains(s, "::") && !strings.HasPrefix(s, "void ") {
		if i := parameters(s); i > 0 && identifier(s[i-1]) { // "Memcpy DtoD (Device -> Device)" has no parameters
			return s[:i]
		}
		return s
	}
	s = strings.TrimPrefix(s, "void ")
	s = strings.ReplaceAll(s, "(anonymous namespace)::", "")
	if i := parameters(s); i > 0 {
		s = s[:i]
	}
	s = strings.TrimSpace(s)
	parts := scopes(s)
	base, args := template(parts[len(parts)-1])
	if args == nil {
		return unqualified(s)
	}
	if frame, ok := frames[base]; ok {
		if op := operation(args); op != "" && frame == "" {
			return op
		} else if op != "" {
			return op + " (" + frame + ")"
		}
	}
	return unqualified(s)
}

// frames are kernels that do what a template argument says, with a short name; of the
// others the operation's name is enough.
var frames = map[string]string{
	"vectorized_elementwise_kernel": "vectorized_elementwise", "elementwise_kernel": "elementwise",
	"unrolled_elementwise_kernel":             "unrolled_elementwise",
	"elementwise_kernel_with_index":           "elementwise_index",
	"vectorized_templated_elementwise_kernel": "vectorized_elementwise", "reduce_kernel": "reduce",
	"multi_tensor_apply_kernel": "multi_tensor_apply", "distribution_elementwise_grid_stride_kernel": "distribution",
	"Kernel": "", "Kernel2": "", "device_kernel": "",
}

// wrappers pass on to one of their arguments.
var wrappers = []string{"gpu_kernel_impl", "gpu_kernel_impl_nocast", "ReduceOp", "func_wrapper_t", "BinaryFunctor",
	"AUnaryFunctor", "BUnaryFunctor", "GemmUniversal"}

// plainTypes say nothing about an operation.
var plainTypes = []string{"float", "double", "int", "unsigned int", "long", "unsigned long", "bool", "char",
	"signed char", "unsigned char", "short", "Half", "BFloat16", "c10::Half", "c10::BFloat16"}

// operation finds the argument that says what a frame does.
func operation(args []string) string {
	for _, a := range args {
		parts := slices.DeleteFunc(scopes(a), func(p string) bool {
			return strings.HasPrefix(p, "{") || strings.HasPrefix(p, "operator()")
		})
		if len(parts) == 0 {
			continue
		}
		last := parts[len(parts)-1]
		if i := parameters(last); i > 0 {
			last = last[:i]
		}
		base, inner := template(last)
		switch {
		case slices.Contains(plainTypes, a), base == "", base[0] >= '0' &&
			base[0] <= '9', base == "true", base == "false",
			base == "Array", base == "array", base == "TensorListMetadata", strings.Contains(base, "OffsetCalculator"):
			continue
		case slices.Contains(wrappers, base):
			if op := operation(inner); op != "" {
				return op
			}
			continue
		}
		return unqualified(last)
	}
	return ""
}

// nesting follows brackets; ok is false where they do not match.
func nesting(s string, f func(i, depth int)) bool {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '<', '(', '{', '[':
			f(i, depth)
			depth++
		case '>', ')', '}', ']':
			if s[i] == '>' && i > 0 && s[i-1] == '-' {
				f(i, depth)
				continue
			}
			depth--
			f(i, depth)
		default:
			f(i, depth)
		}
	}
	return depth == 0
}

// scopes splits s at the "::" outside of brackets.
func scopes(s string) []string {
	var out []string
	start := 0
	nesting(s, func(i, depth int) {
		if depth == 0 && s[i] == ':' && i+1 < len(s) && s[i+1] == ':' && i >= start {
			out = append(out, s[start:i])
			start = i + 2
		}
	})
	return append(out, s[min(start, len(s)):])
}

// template splits "name<a, b>" into its name and arguments; args is nil for other texts.
func template(s string) (name string, args []string) {
	open := strings.IndexByte(s, '<')
	if open <= 0 || !strings.HasSuffix(s, ">") {
		return s, nil
	}
	inner := s[open+1 : len(s)-1]
	start := 0
	if !nesting(inner, func(i, depth int) {
		if depth == 0 && inner[i] == ',' {
			args = append(args, strings.TrimSpace(inner[start:i]))
			start = i + 1
		}
	}) {
		return s, nil
	}
	return s[:open], append(args, strings.TrimSpace(inner[start:]))
}

// parameters returns where the first bracket outside of template arguments opens if s
// ends with a closing one, else -1.
func parameters(s string) int {
	at := -1
	if !nesting(s, func(i, depth int) {
		if s[i] == '(' && depth == 0 && at < 0 {
			at = i
		}
	}) || !strings.HasSuffix(s, ")") {
		return -1 // an operator< or a name that was cut
	}
	return at
}

// unqualified takes namespaces off every identifier.
func unqualified(s string) string {
	var b strings.Builder
	start := 0 // of the identifier that is being read
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == ':' && i+1 < len(s) && s[i+1] == ':':
			i++
			start = i + 1
		case !identifier(s[i]):
			b.WriteString(s[start : i+1])
			start = i + 1
		}
	}
	b.WriteString(s[start:])
	return strings.ReplaceAll(b.String(), "> >", ">>")
}

func identifier(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// OpName shortens what autograd puts before every backward operator.
func OpName(s string) string {
	if op, ok := strings.CutPrefix(s, "autograd::engine::evaluate_function: "); ok {
		return "autograd: " + op
	}
	return s
}
