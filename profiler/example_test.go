package profiler_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
)

var (
	matmul = profiler.Intern("aten::mm")
	step   = profiler.Intern("decode_step")
	index  = profiler.Intern("step")
)

// A decode loop is recorded and read back.
func Example() {
	rec := profiler.New(profiler.Config{Process: "stage0 thinker rank 0"})
	track := rec.Track("scheduler")

	var file bytes.Buffer
	err := rec.Start(profiler.StartOptions{Out: &file, RecordShapes: true, Meta: map[string]string{"stage": "thinker"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range int64(2) {
		s := track.Begin(step, profiler.CategoryAnnotation).Int(index, i)
		track.Begin(matmul, profiler.CategoryOp).Shape(profiler.Float32, 1, 512).Shape(profiler.Float32, 512, 512).End()
		s.End()
	}
	if _, err := rec.Stop(); err != nil {
		fmt.Println(err)
		return
	}

	rd, err := format.NewReader(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(rd.Header().Process, rd.Header().Meta)
	for {
		g, err := rd.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		for i := range g.Slices.Start {
			fmt.Printf("%*s%s", 2*g.Slices.Depth[i], "", rd.String(g.Slices.Name[i]))
			for _, a := range g.SliceAttrs(i) {
				switch a.Kind {
				case format.AttrInt:
					fmt.Printf(" %s=%d", rd.String(a.Key), a.Int)
				case format.AttrShape:
					fmt.Printf(" %v", g.Dims(a))
				}
			}
			fmt.Println()
		}
	}
	// Output:
	// stage0 thinker rank 0 map[stage:thinker]
	//   aten::mm [1 512] [512 512]
	// decode_step step=0
	//   aten::mm [1 512] [512 512]
	// decode_step step=1
}
