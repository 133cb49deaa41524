package web

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// endpoint answers a request or returns the error to answer with.
type endpoint func(http.ResponseWriter, *http.Request) error

// methods maps a path's methods to endpoints; GET answers HEAD too.
type methods map[string]endpoint

// table is every path of the server, as ServeMux patterns.
func (s *Server) table() map[string]methods {
	t := map[string]methods{
		"/ui/{file}": {http.MethodGet: s.pageFile},
		"/view/{id}": {http.MethodGet: s.viewPage},
		"/compare":   {http.MethodGet: s.comparePage},
		"/login":     {http.MethodPost: s.login},
	}
	maps.Copy(t, s.extensionTable())
	if s.api != nil {
		maps.Copy(t, s.pipelineTable())
	} else {
		t["/{$}"] = methods{http.MethodGet: s.firstView}
	}
	if s.cfg.Catalog != nil {
		maps.Copy(t, s.runsTable())
		if s.api != nil {
			maps.Copy(t, s.estimateTable())
		}
	}
	if s.cfg.Asker != nil {
		t[api.QuestionsPath] = methods{http.MethodPost: s.question}
	}
	if s.cfg.View != nil {
		for _, r := range s.cfg.View.Routes() {
			t[r.Pattern] = methods{r.Method: r.Handle}
		}
	}
	return t
}

// pipelineTable has the paths that a server with an open pipeline serves.
func (s *Server) pipelineTable() map[string]methods {
	return map[string]methods{
		"/{$}":                                  {http.MethodGet: s.page},
		"/v1/chat/completions":                  {http.MethodPost: s.limited(s.chat)},
		"/v1/audio/speech":                      {http.MethodPost: s.limited(s.speech)},
		"/v1/images/generations":                {http.MethodPost: s.limited(s.images)},
		"/v1/models":                            {http.MethodGet: s.models},
		"/v1/models/{id...}":                    {http.MethodGet: s.model},
		api.HealthPath:                          {http.MethodGet: s.health},
		"/metrics":                              {http.MethodGet: s.metrics.serve},
		api.StartPath:                           s.profileMethods(s.startProfile),
		api.StopPath:                            s.profileMethods(s.stopProfile),
		api.SessionsPath:                        {http.MethodGet: s.sessionList},
		api.EventsPath:                          {http.MethodGet: s.events},
		"/v1/sessions/{id}":                     {http.MethodGet: s.sessionGet},
		"/v1/sessions/{id}/artifacts/{name...}": {http.MethodGet: s.artifact},
	}
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, m := range s.table() {
		h := s.dispatch(m)
		if !openRoutes[pattern] {
			h = s.keyed(pattern, h)
		}
		if strings.HasPrefix(pattern, extensionBase+"/") {
			h = crossOrigin(h)
		}
		mux.Handle(pattern, h)
	}
	mux.Handle("/", s.keyed("/", s.dispatch(nil)))
	return mux
}

// dispatch picks the endpoint by method, so that 404 and 405 have JSON bodies
// like every other error.
func (s *Server) dispatch(m methods) http.Handler {
	allow := slices.Sorted(maps.Keys(m))
	if _, ok := m[http.MethodGet]; ok {
		allow = append(allow, http.MethodHead)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		e, ok := m[method]
		switch {
		case m == nil:
			s.fail(w, r, notFound("no such path: "+r.URL.Path))
		case !ok:
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.fail(w, r, &openai.Error{
				Status: http.StatusMethodNotAllowed, Type: openai.TypeInvalidRequest, Code: "method_not_allowed",
				Message: fmt.Sprintf("%s is not allowed on %s; use %s", r.Method, r.URL.Path,
					strings.Join(allow, " or ")),
			})
		default:
			err := wholeQuery(r)
			if err == nil {
				err = e(w, r)
			}
			if err != nil {
				s.fail(w, r, err)
			}
		}
	})
}

// wholeQuery refuses a query of which package url drops what it cannot read: a path would answer another
// question than the one asked.
func wholeQuery(r *http.Request) error {
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return openai.Invalid("", "the query of the URL cannot be read: %v", err)
	}
	return nil
}

// profileMethods are those of a profile route.
func (s *Server) profileMethods(e endpoint) methods {
	m := methods{http.MethodPost: e}
	if s.cfg.ProfileByGet {
		m[http.MethodGet] = s.byGet(e)
	}
	return m
}

// byGet answers a GET that changes something, as SGLang's profile routes do. Requests from browsers
// are refused, because a page of another site can make a browser send a GET without asking.
func (s *Server) byGet(e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodHead {
			w.Header().Set("Allow", "GET, POST")
			return &openai.Error{Status: http.StatusMethodNotAllowed, Type: openai.TypeInvalidRequest,
				Code:    "method_not_allowed",
				Message: "HEAD is not allowed on " + r.URL.Path + "; use POST"}
		}
		if r.Header.Get("Sec-Fetch-Mode") != "" || r.Header.Get("Sec-Fetch-Site") != "" ||
			r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
			return forbidden("browser", "a browser may have sent this GET without being asked to: use POST")
		}
		w.Header().Set("Cache-Control", "no-store")
		return e(w, r)
	}
}

// limited bounds the generations in flight.
func (s *Server) limited(e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		select {
		case s.generations <- struct{}{}:
			defer func() { <-s.generations }()
			return e(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			return &openai.Error{
				Status: http.StatusServiceUnavailable, Type: openai.TypeRateLimit, Code: "overloaded",
				Message: fmt.Sprintf("%d requests are in flight, the most this server takes; try again",
					MaxGenerations),
			}
		}
	}
}

func notFound(msg string) *openai.Error {
	return &openai.Error{Status: http.StatusNotFound, Type: openai.TypeInvalidRequest, Code: "not_found", Message: msg}
}
