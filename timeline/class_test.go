package timeline

import "testing"

// TestClassesAreReadBack: each class reads the text that it writes, and no other.
func TestClassesAreReadBack(t *testing.T) {
	for want := range numClasses {
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		got := numClasses
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Errorf("%s is read as %d, want %d (%v)", text, got, want, err)
		}
	}
	c := ClassKernel
	if err := c.UnmarshalText([]byte("kernels")); err == nil || c != ClassKernel {
		t.Errorf("a class that is none is read as %s, %v", c, err)
	}
}
