package split

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// maxStreams bounds the streams that are compared, each with each.
const maxStreams = 1024

// stream is one track of a device whose rows' hosts are not known.
type stream struct {
	rows []int        // slices
	fits map[int]pair // by host, those that can have launched all of it
	ids  map[int64]bool
}

// byStreams finds the hosts of whole streams, where every process has its own: a host that launched
// a row's correlation only after it began, or not at all, is not the stream's; two streams that have
// rows of the same correlations are of different hosts; and work begins about as long after each of
// its own launches. What these leave open stays unknown.
func (p *processes) byStreams(rows, host []int, launched map[int64][]call) {
	list := p.openStreams(rows, host, launched)
	if len(list) > maxStreams {
		return
	}
	for again := true; again; {
		again = false
		for k, s := range list {
			h, ok := s.only()
			if !ok {
				continue
			}
			for _, i := range s.rows {
				host[i] = h
			}
			for _, o := range list {
				if o != s && o.shares(s) {
					delete(o.fits, h)
				}
			}
			list = slices.Delete(list, k, k+1)
			again = true
			break
		}
	}
}

// openStreams are the streams of whose rows no host is known. Streams that have two rows of one
// correlation are left out: they are those of several hosts, or replays of graphs.
func (p *processes) openStreams(rows, host []int, launched map[int64][]call) []*stream {
	t := p.t
	by := map[trace.TrackID]*stream{}
	var list []*stream
	for _, i := range rows {
		id := t.Slices.Track[i]
		s := by[id]
		if s == nil {
			s = &stream{fits: map[int]pair{}, ids: map[int64]bool{}}
			for h := range p.hosts {
				s.fits[h] = pair{}
			}
			by[id] = s
			list = append(list, s)
		}
		corr := t.Slices.Corr[i]
		if host[i] >= 0 || s.ids[corr] {
			clear(s.fits)
		}
		s.rows, s.ids[corr] = append(s.rows, i), true
		before := map[int]int64{}
		for _, c := range launched[corr] {
			if n, ok := slices.BinarySearch(p.hosts, c.host); ok && c.at <= t.Slices.Start[i] {
				before[n] = t.Slices.Start[i] - c.at
			}
		}
		for h, f := range s.fits {
			if delay, ok := before[h]; ok {
				f.add(delay)
				s.fits[h] = f
			}
		}
	}
	for _, s := range list {
		for h, f := range s.fits {
			if float64(f.found) < mostFound*float64(len(s.rows)) {
				delete(s.fits, h)
			}
		}
	}
	return slices.DeleteFunc(list, func(s *stream) bool { return len(s.fits) == 0 })
}

// only is the one host that fits, or after whose launches the work begins much more steadily than
// after any other's.
func (s *stream) only() (host int, ok bool) {
	best, second := int64(0), int64(0)
	host = -1
	for h, f := range s.fits {
		if len(s.fits) == 1 {
			return h, true
		}
		x := f.spread()
		if x == 0 {
			return 0, false
		}
		switch {
		case host < 0 || x < best:
			host, best, second = h, x, best
		case second == 0 || x < second:
			second = x
		}
	}
	return host, second >= steadier*best && best > 0
}

func (s *stream) shares(o *stream) bool {
	for id := range s.ids {
		if o.ids[id] {
			return true
		}
	}
	return false
}
