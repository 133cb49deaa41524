package procs

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// proc is a process that starts at tick pid. Parents come nearest first.
func proc(pid int, cmdline string, parents ...int) Process {
	return Process{PID: pid, StartTicks: uint64(pid), Ancestors: append(parents, 1), Args: strings.Fields(cmdline)}
}

func (p Process) env(vars ...string) Process {
	p.Env = map[string]string{}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		p.Env[name] = value
	}
	return p
}

func (p Process) torchrun(rank, world int) Process {
	return p.env(fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("WORLD_SIZE=%d", world))
}

// circle cannot be on a host, but in what was read while ids changed hands.
func circle(pid, other int) Process {
	return Process{PID: pid, Ancestors: []int{other, pid, other}}
}

func (p Process) gpu() Process { p.Devices = 1; return p }

// placed renders ranks as "pid=stage:name.replica.rank/world".
func placed(ranks []Rank) []string {
	var out []string
	for _, r := range ranks {
		out = append(out, fmt.Sprintf("%d=%d:%s.%d.%d/%d", r.Process.PID, r.Stage, r.StageName, r.Replica, r.Rank,
			r.WorldSize))
	}
	return out
}

func check(t *testing.T, r *Roster, ps []Process, want, skip string) {
	t.Helper()
	ranks, skipped := r.Place(ps)
	if got := strings.Join(placed(ranks), " "); got != want {
		t.Errorf("ranks   %s\nwant    %s", got, want)
	}
	var out []string
	for _, s := range skipped {
		out = append(out, fmt.Sprintf("%d %s", s.PID, s.Reason))
	}
	if got := strings.Join(out, "; "); got != skip {
		t.Errorf("skipped %s\nwant    %s", got, skip)
	}
}

func TestWhoIsARank(t *testing.T) {
	hidden := proc(12, "python b.py")
	hidden.Restricted = true
	for _, c := range []struct {
		name       string
		ps         []Process
		want, skip string
	}{
		{"nobody", nil, "", ""},
		{"accelerators", []Process{proc(10, "python a.py").gpu(), proc(11, "python b.py").torchrun(0, 1), hidden},
			"10=0:a.0.0/1", "11 has no accelerator open, others have; " +
				"12 others have an accelerator open; which files this one has open is hidden from this user"},
		{"RANK", []Process{proc(10, "python t.py").torchrun(1, 2), proc(11, "python t.py").torchrun(0, 2),
			proc(12, "python x.py"),
			proc(13, "python x.py").torchrun(2, 2), proc(14, "python x.py").env("RANK=0")},
			"11=0:t.0.0/2 10=0:t.0.1/2",
			"12 has no RANK, others have; 13 has no RANK, others have; 14 has no RANK, others have"},
		{"descent", []Process{proc(10, "python l.py"), proc(11, "python m.py", 10), proc(12, "python w.py", 11, 10),
			proc(13, "python z.py")},
			"12=0:w.0.0/1 13=1:z.0.0/1", "10 starts rank process 12; 11 starts rank process 12"},
		{"torchrun and its DataLoader workers", []Process{proc(10, "torchrun t.py"),
			proc(11, "python t.py", 10).torchrun(0, 2),
			proc(12, "python t.py", 10).torchrun(1, 2), proc(13, "python t.py", 11, 10).torchrun(0, 2),
			proc(14, "python -c x", 13, 11, 10).torchrun(0, 2)},
			"11=0:t.0.0/2 12=0:t.0.1/2", "10 starts rank process 11; 13 worker of process 11; 14 worker of process 11"},
		{"forked workers have the accelerator open too", []Process{proc(11, "python t.py", 10).torchrun(0, 1).gpu(),
			proc(12, "python t.py", 11, 10).torchrun(0, 1).gpu()},
			"11=0:t.0.0/1", "12 worker of process 11"},
		{"a launcher with an accelerator open and the node's RANK",
			[]Process{proc(10, "torchrun t.py").torchrun(0, 2).gpu(),
				proc(11, "python t.py", 10).torchrun(0, 4).gpu(), proc(12, "python t.py", 10).torchrun(1, 4).gpu()},
			"11=0:t.0.0/4 12=0:t.0.1/4", "10 starts rank process 11"},
		{"vLLM, where the pod has a RANK", []Process{proc(10, "python /bin/vllm serve").torchrun(0, 1),
			proc(11, "VLLM::EngineCore", 10).torchrun(0, 1).gpu(),
			proc(12, "VLLM::Worker_TP0", 11, 10).torchrun(0, 1).gpu(),
			proc(13, "VLLM::Worker_TP1", 11, 10).torchrun(0, 1).gpu(),
			proc(14, "python -c x", 13, 11, 10).torchrun(0, 1).gpu()},
			"12=0:vllm.0.0/2 13=0:vllm.0.1/2",
			"10 starts rank process 12; 11 starts rank process 12; 14 worker of process 13"},
		{"vLLM's data-parallel engines", []Process{proc(10, "python vllm"), proc(11, "VLLM::EngineCore_DP0", 10).gpu(),
			proc(12, "VLLM::EngineCore_DP1", 10).gpu()},
			"11=0:vllm.0.0/1 12=0:vllm.1.0/1", "10 starts rank process 11"},
		{"vLLM's independent engines without accelerators", []Process{proc(10, "VLLM::EngineCore_DP0", 9),
			proc(11, "VLLM::EngineCore_DP1", 9), proc(12, "VLLM::Worker", 11, 9), proc(13, "VLLM::Worker", 10, 9),
			proc(14, "VLLM::APIServer_0", 9), proc(15, "VLLM::DPCoordinator", 9)},
			"13=0:vllm.0.0/1 12=0:vllm.1.0/1", "10 starts rank process 13; 11 starts rank process 12; " +
				"14 runs no model, as its title says; 15 runs no model, as its title says"},
		{"their workers of two ranks", []Process{proc(10, "VLLM::EngineCore_DP0", 9),
			proc(11, "VLLM::EngineCore_DP1", 9), proc(12, "VLLM::Worker_TP0", 11, 9),
			proc(13, "VLLM::Worker_TP1", 10, 9), proc(14, "VLLM::Worker_TP1", 11, 9),
			proc(15, "VLLM::Worker_TP0", 10, 9), proc(16, "VLLM::EngineCore_DP1"), proc(17, "python a.py", 16)},
			"15=0:vllm.0.0/2 13=0:vllm.0.1/2 12=0:vllm.1.0/2 14=0:vllm.1.1/2 16=0:vllm.2.0/1",
			"10 starts rank process 13; 11 starts rank process 12; 17 worker of process 16"},
		{"titled below titled", []Process{proc(11, "sglang::scheduler_TP0"), proc(12, "sglang::scheduler_TP1", 11),
			proc(13, "sglang::scheduler_TP1", 12, 11),
			proc(14, "python -c x", 12, 11)},
			"11=0:sglang.0.0/1 12=0:sglang.0.1/2", "13 worker of process 12; 14 worker of process 12"},
		{"a titled launcher whose ranks have no accelerator", []Process{proc(10, "VLLM::EngineCore").gpu(),
			proc(11, "VLLM::Worker_TP0", 10), proc(12, "python a.py").gpu()},
			"12=0:a.0.0/1", "10 starts processes that are no ranks either; 11 has no accelerator open, others have"},
		{"compile workers", []Process{proc(10, "python a.py"), proc(11,
			"python /x/torch/_inductor/compile_worker/__main__.py", 10)},
			"10=0:a.0.0/1", "11 compiles kernels for another process"},
		{"ancestors in a circle", []Process{circle(10, 11), circle(11, 10)},
			"", "10 starts processes that are no ranks either; 11 starts processes that are no ranks either"},
		{"workers in a circle", []Process{circle(10, 11).torchrun(0, 1), circle(11, 10).torchrun(0, 1)},
			"", "10 worker of process 10; 11 worker of process 11"},
		{"the id of an ancestor that is gone", []Process{proc(10, "python a.py", 11), proc(11, "python b.py")},
			"10=0:a.0.0/1 11=1:b.0.0/1", ""},
		{"one id twice", []Process{{PID: 5, StartTicks: 9, Args: []string{"new"}},
			{PID: 5, StartTicks: 3, Args: []string{"old"}}}, "5=0:new.0.0/1", ""},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, &Roster{}, c.ps, c.want, c.skip) })
	}
}

func TestPlaces(t *testing.T) {
	tp := func(pid, parent int, role string) Process { return proc(pid, "VLLM::Worker_"+role, parent) }
	for _, c := range []struct {
		name string
		ps   []Process
		want string
	}{
		{"names in order of start", []Process{proc(12, "python b.py"), proc(11, "python a.py"),
			proc(13, "python a.py")},
			"11=0:a.0.0/1 13=0:a.1.0/1 12=1:b.0.0/1"},
		{"stages that are asked for", []Process{proc(11, "python a.py"),
			proc(12, "python b.py").env("KINETOSCOPE_STAGE=0", "KINETOSCOPE_STAGE_NAME=dit/x"),
			proc(13, "python c.py").env("KINETOSCOPE_STAGE=-1", "KINETOSCOPE_STAGE_NAME="),
			proc(14, "python c.py").env("KINETOSCOPE_STAGE=10000"),
			proc(15, "python d.py").env("KINETOSCOPE_STAGE_NAME=dit_x")},
			"12=0:dit_x.0.0/1 15=0:dit_x.1.0/1 11=1:a.0.0/1 13=2:c.0.0/1 14=2:c.1.0/1"},
		{"pipeline parallel", []Process{tp(11, 9, "PP0_TP0"), tp(12, 9, "PP1_TP0"), tp(13, 9, "PP0_TP1"),
			tp(14, 9, "PP1_TP1")},
			"11=0:vllm.0.0/4 13=0:vllm.0.1/4 12=0:vllm.0.2/4 14=0:vllm.0.3/4"},
		{"data parallel", []Process{tp(11, 8, "DP0_TP0"), tp(12, 8, "DP0_TP1"), tp(13, 9, "DP1_TP0"),
			tp(14, 9, "DP1_TP1")},
			"11=0:vllm.0.0/2 12=0:vllm.0.1/2 13=0:vllm.1.0/2 14=0:vllm.1.1/2"},
		{"a worker that shows before the engine above it",
			[]Process{{PID: 12, StartTicks: 12, Ancestors: []int{11}, Args: []string{"VLLM::Worker"},
				above: &title{program: "vllm", dp: 1, hasDP: true}}}, "12=0:vllm.1.0/1"},
		{"part of a replica on this host", []Process{tp(11, 9, "TP4"), tp(12, 9, "TP5")},
			"11=0:vllm.0.4/6 12=0:vllm.0.5/6"},
		{"two servers of different size", []Process{tp(11, 8, "TP0"), tp(12, 9, "PP0_TP0"), tp(13, 9, "PP1_TP0"),
			tp(14, 8, "TP1")},
			"11=0:vllm.0.0/2 14=0:vllm.0.1/2 12=0:vllm.1.0/2 13=0:vllm.1.1/2"},
		{"two jobs of a script, interleaved", []Process{proc(11, "python t.py", 8).torchrun(0, 2),
			proc(12, "python t.py", 9).torchrun(1, 2),
			proc(13, "python t.py", 9).torchrun(0, 2), proc(14, "python t.py", 8).torchrun(1, 2)},
			"11=0:t.0.0/2 14=0:t.0.1/2 13=0:t.1.0/2 12=0:t.1.1/2"},
		{"ranks of one job without a common parent", []Process{proc(11, "python t.py", 7).torchrun(0, 2),
			proc(12, "python t.py", 8).torchrun(1, 2)},
			"11=0:t.0.0/2 12=0:t.0.1/2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, &Roster{}, c.ps, c.want, "")
		})
	}
}

func TestPlacesAreKept(t *testing.T) {
	var r Roster
	a, b, c := proc(11, "python t.py"), proc(12, "python t.py"), proc(13, "python u.py")
	check(t, &r, []Process{a, b, c}, "11=0:t.0.0/1 12=0:t.1.0/1 13=1:u.0.0/1", "")
	check(t, &r, []Process{b, c}, "12=0:t.1.0/1 13=1:u.0.0/1", "")
	check(t, &r, []Process{c}, "13=1:u.0.0/1", "")
	b.PID, b.StartTicks = 14, 14
	check(t, &r, []Process{b, c}, "14=0:t.0.0/1 13=1:u.0.0/1", "")
	b.StartTicks, b.Args = 99, []string{"other"} // the id of 14 goes to another program
	check(t, &r, []Process{b, c}, "14=0:other.0.0/1 13=1:u.0.0/1", "")
}

func TestALauncherLosesThePlaceThatItHad(t *testing.T) {
	var r Roster
	launcher, worker := proc(10, "python serve.py"), proc(11, "python serve.py", 10)
	check(t, &r, []Process{launcher}, "10=0:serve.0.0/1", "")
	check(t, &r, []Process{launcher, worker}, "11=0:serve.0.0/1", "10 starts rank process 11")
}

func TestATitleThatComesLate(t *testing.T) {
	var r Roster
	const spawn = "python -c spawn_main()"
	a, b := proc(11, spawn, 10).env("KINETOSCOPE_STAGE=4"), proc(12, spawn, 10).env("KINETOSCOPE_STAGE=4")
	check(t, &r, []Process{a, b}, "11=4:python.0.0/1 12=4:python.1.0/1", "")
	// The title overwrites the environment.
	a.Args, a.Env, b.Args, b.Env = []string{"VLLM::Worker_PP0_TP0"}, nil, []string{"VLLM::Worker_PP1_TP0"}, nil
	check(t, &r, []Process{a, b}, "11=4:vllm.0.0/2 12=4:vllm.0.1/2", "")
	c := proc(13, "VLLM::Worker_PP0_TP1", 10).env("KINETOSCOPE_STAGE=4")
	check(t, &r, []Process{a, b, c}, "11=4:vllm.0.0/3 13=4:vllm.0.1/3 12=4:vllm.0.2/3", "")
	// The siblings' parent is gone and so is the one with the largest TP.
	a.Ancestors, b.Ancestors = []int{1}, []int{1}
	check(t, &r, []Process{a, b}, "11=4:vllm.0.0/3 12=4:vllm.0.2/3", "")
}

func TestARankOfTorchrunThatSetsItsTitleStaysThatRank(t *testing.T) {
	var r Roster
	ps := []Process{proc(11, "python t.py", 10).torchrun(0, 2), proc(12, "python t.py", 10).torchrun(1, 2)}
	r.Place(ps)
	ps[1].Args, ps[1].Env = []string{"trainer::busy"}, nil
	check(t, &r, ps, "11=0:t.0.0/2 12=1:trainer.0.1/2", "")
}

func TestPlaceLeavesItsArgumentAlone(t *testing.T) {
	var r Roster
	r.Place([]Process{proc(11, "b").torchrun(0, 1)})
	ps := []Process{proc(12, "a"), proc(11, "b")}
	before := slices.Clone(ps)
	ranks, _ := r.Place(ps)
	if !reflect.DeepEqual(ps, before) {
		t.Errorf("%+v", ps)
	}
	ranks[0].Process.Env[EnvRank] = "9"
	check(t, &r, ps, "11=0:b.0.0/1", "12 has no RANK, others have")
}

func drawProcess(t *rapid.T, pid int, alive []Process) Process {
	p := Process{PID: pid, StartTicks: uint64(pid / 2)}
	if len(alive) > 0 && rapid.Bool().Draw(t, "child") {
		parent := rapid.SampledFrom(alive).Draw(t, "parent")
		p.Ancestors = append([]int{parent.PID}, parent.Ancestors...)
	} else {
		p.Ancestors = []int{rapid.IntRange(1, 3).Draw(t, "shell")}
	}
	p.Args = strings.Fields(rapid.SampledFrom([]string{"", "python a.py", "python b.py", "VLLM::EngineCore",
		"VLLM::EngineCore_DP1", "VLLM::Worker", "VLLM::APIServer_0",
		"VLLM::Worker_TP0", "VLLM::Worker_TP1", "VLLM::Worker_PP1_TP0", "VLLM::Worker_PP1_TP1", "VLLM::Worker_DP1_TP1",
		"sglang::scheduler_TP1", "python /torch/_inductor/compile_worker/__main__.py"}).Draw(t, "args"))
	p.Env = map[string]string{}
	if rapid.IntRange(0, 3).Draw(t, "has RANK") == 0 {
		p.Env[EnvRank] = fmt.Sprint(rapid.IntRange(-1, 4).Draw(t, "RANK"))
		p.Env[EnvWorldSize] = fmt.Sprint(rapid.IntRange(2, 4).Draw(t, "WORLD_SIZE"))
	}
	if rapid.IntRange(0, 4).Draw(t, "has stage") == 0 {
		p.Env[EnvStage] = rapid.SampledFrom([]string{"0", "1", "x"}).Draw(t, "stage")
	}
	if rapid.IntRange(0, 3).Draw(t, "has accelerator") == 0 {
		p.Devices = 1
	}
	return p
}

// In any history of any process tree everybody is a rank or skipped, places are distinct,
// nothing changes while the processes are the same, and who goes on being a rank with the
// same number stays where it is. A number changes only when another rank has joined.
func TestPlacesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Roster
		var alive []Process
		last := map[int]Rank{}
		end := 10 + rapid.IntRange(1, 25).Draw(t, "steps")
		for pid := 10; pid < end; pid++ {
			if len(alive) > 0 && rapid.IntRange(0, 2).Draw(t, "leaves") == 0 {
				i := rapid.IntRange(0, len(alive)-1).Draw(t, "who")
				alive = slices.Delete(slices.Clone(alive), i, i+1)
			} else {
				alive = append(slices.Clone(alive), drawProcess(t, pid, alive))
			}
			ranks, skipped := r.Place(alive)
			now, spots := map[int]Rank{}, map[[3]int]int{}
			joined := slices.ContainsFunc(ranks, func(k Rank) bool { _, ok := last[k.Process.PID]; return !ok })
			for _, k := range ranks {
				now[k.Process.PID] = k
				at := [3]int{k.Stage, k.Replica, k.Rank}
				if other, ok := spots[at]; ok {
					t.Fatalf("%d and %d share %v", other, k.Process.PID, at)
				}
				spots[at] = k.Process.PID
				if k.Rank < 0 || k.Rank >= k.WorldSize || k.Stage < 0 || k.Replica < 0 || k.StageName == "" {
					t.Fatalf("place %v", placed([]Rank{k}))
				}
				if was, ok := last[k.Process.PID]; ok && (!joined || was.Rank == k.Rank) &&
					(was.Stage != k.Stage || was.Replica != k.Replica || was.Rank != k.Rank ||
						was.WorldSize > k.WorldSize) {
					t.Fatalf("%v became %v", placed([]Rank{was}), placed([]Rank{k}))
				}
			}
			seen := maps.Clone(spots)
			for _, s := range skipped {
				if _, ok := now[s.PID]; ok || s.Reason == "" || s.Reason == launcher {
					t.Fatalf("skipped %+v", s)
				}
				seen[[3]int{-s.PID}] = s.PID
			}
			if len(seen) != len(alive) || len(ranks)+len(skipped) != len(alive) {
				t.Fatalf("%d processes: %v and %v", len(alive), placed(ranks), skipped)
			}
			shuffled := rapid.Permutation(alive).Draw(t, "order")
			if again, skip := r.Place(shuffled); !reflect.DeepEqual(again, ranks) || !reflect.DeepEqual(skip, skipped) {
				t.Fatalf("%v became %v", placed(ranks), placed(again))
			}
			last = now
		}
	})
}
