package web

import (
	"net/http"
	"slices"

	"github.com/kinetoscope/kinetoscope/web/perfettosql"
)

// The extension server of Perfetto's UI lies below extensionBase. What it gives out is part of the program
// and says nothing of any trace, so that it needs no key and a page of another site may read it.
const (
	extensionBase   = "/perfetto"
	manifestPath    = extensionBase + "/manifest"
	macrosPath      = extensionBase + "/modules/" + perfettosql.Module + "/macros"
	sqlModulesPath  = extensionBase + "/modules/" + perfettosql.Module + "/sql_modules"
	extensionMaxAge = "3600" // seconds for which a browser need not ask again whether it may ask
)

// perfettoOrigins are the pages that may read extensions: Perfetto's, and one that its developers serve
// themselves.
var perfettoOrigins = []string{"https://ui.perfetto.dev", "http://localhost:10000", "http://127.0.0.1:10000"}

// extensionTable has the paths of the extension server.
func (s *Server) extensionTable() map[string]methods {
	give := func(v any) methods {
		return methods{http.MethodGet: func(w http.ResponseWriter, _ *http.Request) error {
			s.writeJSON(w, http.StatusOK, v)
			return nil
		}}
	}
	return map[string]methods{
		manifestPath:   give(perfettosql.TheManifest()),
		macrosPath:     give(perfettosql.TheMacros()),
		sqlModulesPath: give(perfettosql.TheModules()),
	}
}

// forPerfetto reports whether Perfetto's UI asks for extensions.
func forPerfetto(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return false
	}
	switch r.URL.Path {
	case manifestPath, macrosPath, sqlModulesPath:
		return slices.Contains(perfettoOrigins, r.Header.Get("Origin"))
	}
	return false
}

// crossOrigin lets Perfetto's UI read what h answers, and answers its browser's question whether it may.
func crossOrigin(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Add("Vary", "Origin")
		if !forPerfetto(r) {
			h.ServeHTTP(w, r)
			return
		}
		head.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		if r.Method != http.MethodOptions {
			h.ServeHTTP(w, r)
			return
		}
		head.Set("Access-Control-Allow-Methods", "GET")
		head.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key")
		head.Set("Access-Control-Allow-Private-Network", "true") // of a page of the internet, about this network
		head.Set("Access-Control-Max-Age", extensionMaxAge)
		w.WriteHeader(http.StatusNoContent)
	})
}
