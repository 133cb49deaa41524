package timeline

import (
	"fmt"
	"maps"
	"math"
	"unicode/utf16"
)

// Shade is the colours of a class: a hue that its names vary within a spread, as strong as Chroma.
// Hue and Spread are degrees of OKLCH.
type Shade struct{ Hue, Spread, Chroma float64 }

// shades are the project's colours, for the timeline, the reports and their pictures alike.
var shades = [numClasses]Shade{
	ClassOther:      {255, 60, 0.05},
	ClassOp:         {262, 46, 0.12},
	ClassAnnotation: {85, 26, 0.12},
	ClassRuntime:    {325, 26, 0.09},
	ClassKernel:     {172, 70, 0.12},
	ClassCollective: {38, 22, 0.16},
	ClassCopy:       {105, 16, 0.13},
	ClassPython:     {150, 60, 0.045},
	ClassOverhead:   {20, 10, 0.04},
	ClassWait:       {255, 0, 0.012},
	ClassPrefill:    {55, 0, 0.15},
	ClassDecode:     {240, 0, 0.13},
	ClassDenoise:    {300, 0, 0.13},
	ClassModel:      {350, 40, 0.12},
	ClassHandoff:    {130, 0, 0.15},
	ClassSchedule:   {95, 30, 0.09},
}

// partClasses are the classes whose colours stand for parts of time and memory, by the names that
// reports give the parts, and for kinds of steps.
var partClasses = map[string]Class{
	"compute": ClassKernel, "communication": ClassCollective, "memory": ClassCopy, "idle": ClassWait,
	"other":   ClassOverhead,
	"prefill": ClassPrefill, "decode": ClassDecode, "denoise": ClassDenoise, "text_encode": ClassModel,
	"vae_decode": ClassModel, "vocode": ClassModel, "handoff": ClassHandoff, "schedule": ClassSchedule,
	"sample": ClassSchedule, "operators": ClassOp, "wait": ClassWait,
	"mixed": ClassPrefill, "training": ClassAnnotation, "generation": ClassDenoise,
	"before": ClassWait, "unknown": ClassOther, "decode_step": ClassDecode, "denoise_step": ClassDenoise,
}

// Ink is the colour of text on the colours of classes, on either ground: contrast of at least 5.
const Ink = "#0b0f14"

// Shades returns the colours of the classes by number.
func Shades() []Shade { return shades[:] }

// PartClasses returns the class whose colour stands for a part of time or memory, by the part's name.
func PartClasses() map[string]Class { return maps.Clone(partClasses) }

// PartColor returns the colour "#rrggbb" of a part of time or memory, on a dark ground or on a light
// one. The pages compute the same in tl-color.js.
func PartColor(part string, dark bool) string {
	s, h := shades[partClasses[part]], nameHash(part)
	light, chroma := 0.8, s.Chroma*0.85
	if dark {
		light, chroma = 0.68, s.Chroma
	}
	_, rest := math.Modf(h * 97)
	return oklch(light+(rest-0.5)*0.09, chroma, s.Hue+(h-0.5)*s.Spread)
}

// nameHash is a number of [0, 1) for a name.
func nameHash(name string) float64 {
	h := uint32(2166136261) // FNV-1a over UTF-16, mixed
	for _, c := range utf16.Encode([]rune(name)) {
		h = (h ^ uint32(c)) * 16777619
	}
	h ^= h >> 15
	return float64(h*2246822519) / (1 << 32)
}

// oklch turns a colour of OKLCH, https://bottosson.github.io/posts/oklab, into one of sRGB.
func oklch(light, chroma, hue float64) string {
	a, b := chroma*math.Cos(hue*math.Pi/180), chroma*math.Sin(hue*math.Pi/180)
	cube := func(x float64) float64 { return x * x * x }
	l := cube(light + 0.3963377774*a + 0.2158037573*b)
	m := cube(light - 0.1055613458*a - 0.0638541728*b)
	s := cube(light - 0.0894841775*a - 1.291485548*b)
	gamma := func(x float64) int {
		if x <= 0.0031308 {
			x *= 12.92
		} else {
			x = 1.055*math.Pow(x, 1/2.4) - 0.055
		}
		return int(math.Round(255 * min(1, max(0, x))))
	}
	return fmt.Sprintf("#%02x%02x%02x", gamma(4.0767416621*l-3.3077115913*m+0.2309699292*s),
		gamma(-1.2684380046*l+2.6097574011*m-0.3413193965*s), gamma(-0.0041960863*l-0.7034186147*m+1.707614701*s))
}
