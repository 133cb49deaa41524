package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// capabilities is what the pipeline makes now.
func (s *Server) capabilities() openai.Capabilities {
	return openai.CapabilitiesOf(s.api.Model(), s.api.Stages())
}

// gather runs req to its end.
func (s *Server) gather(r *http.Request, req omni.Request) (*openai.Answer, error) {
	var a openai.Answer
	for o, err := range s.api.Generate(r.Context(), req) {
		if err != nil {
			return nil, err
		}
		if err := a.Add(o); err != nil {
			return nil, err
		}
	}
	// An iterator may end quietly when its context does.
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	s.metrics.generated(&a)
	return &a, nil
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r, MaxGenerateBody)
	if err != nil {
		return err
	}
	c, err := openai.ParseChat(body, s.capabilities())
	if err != nil {
		return err
	}
	s.identify(w, r, &c.Request, "chatcmpl-")
	if c.Stream {
		return s.chatStream(w, r, c)
	}
	a, err := s.gather(r, c.Request)
	if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, a.Completion(c, s.api.Model(), time.Now()))
	return nil
}

// chatStream answers as server-sent events. Until the first output an error
// has a status of its own; after it, it is an event.
func (s *Server) chatStream(w http.ResponseWriter, r *http.Request, c *openai.Chat) error {
	st := openai.NewStream(c, s.api.Model(), time.Now())
	open := false
	send := func(chunks ...openai.Chunk) error {
		if !open {
			open = true
			h := w.Header()
			h.Set("Content-Type", "text/event-stream; charset=utf-8")
			h.Set("Cache-Control", "no-cache")
			h.Set("X-Accel-Buffering", "no") // nginx would gather the events
			chunks = append([]openai.Chunk{st.Open()}, chunks...)
		}
		return s.push(w, events(chunks))
	}
	for o, err := range s.api.Generate(r.Context(), c.Request) {
		if err != nil {
			return s.endStream(w, r, open, err)
		}
		chunks, err := st.Add(o)
		if err != nil {
			return s.endStream(w, r, open, err)
		}
		if len(chunks) == 0 {
			continue
		}
		if err := send(chunks...); err != nil {
			return err
		}
	}
	if err := r.Context().Err(); err != nil {
		return s.endStream(w, r, open, err)
	}
	s.metrics.generated(st.Summary())
	if err := send(st.Close()...); err != nil {
		return err
	}
	return s.push(w, []byte("data: [DONE]\n\n"))
}

// endStream tells the client of err as the stream's last event.
func (s *Server) endStream(w http.ResponseWriter, r *http.Request, open bool, err error) error {
	if !open || clientGone(r, err) {
		return err
	}
	data, merr := json.Marshal(asError(err).Body())
	if merr != nil {
		return errors.Join(err, merr)
	}
	if rec := recorderOf(w); rec != nil {
		rec.err = err
	}
	return s.push(w, fmt.Appendf(nil, "data: %s\n\ndata: [DONE]\n\n", neutral.JSON(data)))
}

// events writes chunks as server-sent events.
func events(chunks []openai.Chunk) []byte {
	var out []byte
	for _, c := range chunks {
		data, err := json.Marshal(c)
		if err != nil { // strings and finite numbers only
			panic(fmt.Sprintf("chunk does not marshal: %v", err))
		}
		out = fmt.Appendf(out, "data: %s\n\n", neutral.JSON(data))
	}
	return out
}

func (s *Server) speech(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r, MaxGenerateBody)
	if err != nil {
		return err
	}
	sp, err := openai.ParseSpeech(body, s.capabilities())
	if err != nil {
		return err
	}
	s.identify(w, r, &sp.Request, "speech-")
	if sp.Stream {
		return s.speechStream(w, r, sp)
	}
	a, err := s.gather(r, sp.Request)
	if err != nil {
		return err
	}
	if a.SampleRate == 0 {
		return errors.New("the pipeline made no audio")
	}
	data := a.AudioBytes(sp.Format)
	audioHeader(w, sp.Format, a.SampleRate)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	return s.push(w, data)
}

func (s *Server) speechStream(w http.ResponseWriter, r *http.Request, sp *openai.Speech) error {
	var sum openai.Answer
	var buf []byte
	for o, err := range s.api.Generate(r.Context(), sp.Request) {
		if err != nil {
			return err
		}
		first := sum.SampleRate == 0
		if err := sum.Note(o); err != nil {
			return err
		}
		if len(o.PCM) == 0 {
			continue
		}
		buf = buf[:0]
		if first {
			audioHeader(w, sp.Format, o.SampleRate)
			if sp.Format == openai.FormatWAV {
				buf = openai.AppendWAVHeader(buf, o.SampleRate, openai.UnknownSize)
			}
		}
		buf = openai.AppendPCM(buf, o.PCM)
		if err := s.push(w, buf); err != nil {
			return err
		}
	}
	if err := r.Context().Err(); err != nil {
		return err
	}
	if sum.SampleRate == 0 {
		return errors.New("the pipeline made no audio")
	}
	s.metrics.generated(&sum)
	return nil
}

// audioHeader says how to play the bytes, which raw PCM itself does not.
func audioHeader(w http.ResponseWriter, f openai.AudioFormat, rate int) {
	h := w.Header()
	h.Set("X-Sample-Rate", fmt.Sprint(rate))
	h.Set("X-Channels", "1")
	if f == openai.FormatWAV {
		h.Set("Content-Type", "audio/wav")
		return
	}
	h.Set("Content-Type", "audio/pcm")
}

func (s *Server) images(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r, MaxGenerateBody)
	if err != nil {
		return err
	}
	req, err := openai.ParseImages(body, s.capabilities())
	if err != nil {
		return err
	}
	s.identify(w, r, req, "img-")
	a, err := s.gather(r, *req)
	if err != nil {
		return err
	}
	if len(a.Images) != req.Image.N {
		return fmt.Errorf("the pipeline made %d of %d images", len(a.Images), req.Image.N)
	}
	s.writeJSON(w, http.StatusOK, openai.ImagesOf(req, a.Images, a.Metrics, time.Now()))
	return nil
}

func (s *Server) modelEntry() openai.Model {
	return openai.Model{ID: s.api.Model(), Object: "model", Created: s.created.Unix(), OwnedBy: "kinetoscope"}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) error {
	s.writeJSON(w, http.StatusOK, openai.ModelList{Object: "list", Data: []openai.Model{s.modelEntry()}})
	return nil
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) error {
	c := openai.Capabilities{Model: s.api.Model()}
	if err := c.CheckModel(r.PathValue("id")); err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, s.modelEntry())
	return nil
}
