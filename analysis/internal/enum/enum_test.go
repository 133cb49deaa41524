package enum

import "testing"

type colour uint8

func TestNames(t *testing.T) {
	names := Of[colour]("colour", "red", "green")
	for c, want := range []string{"red", "green", "colour(2)"} {
		text, err := names.Marshal(colour(c))
		if err != nil || string(text) != want || names.Text(colour(c)) != want {
			t.Errorf("%d is %q, want %q (%v)", c, text, want, err)
		}
	}
	c := colour(9)
	if err := names.Unmarshal(&c, []byte("green")); err != nil || c != 1 {
		t.Errorf("green is %d (%v)", c, err)
	}
	if err := names.Unmarshal(&c, []byte("blue")); err == nil ||
		err.Error() != `colour "blue": want one of red, green` || c != 1 {
		t.Errorf("blue is %d (%v)", c, err)
	}
}
