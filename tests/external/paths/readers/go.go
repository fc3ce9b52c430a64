// Readings by Go: net/http, its mux and its file server.
package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
)

func main() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		show := func(name, reading string) {
			fmt.Fprintf(w, "%s\t%s\n", name, (&url.URL{Path: reading}).EscapedPath())
		}
		show("go-path", r.URL.Path)
		// As http.ServeMux and http.FileServer do.
		show("go-clean", path.Clean("/"+r.URL.Path))
		if again, err := url.PathUnescape(r.URL.Path); err == nil {
			show("go-twice", path.Clean("/"+again))
		}
		joined := (&url.URL{Scheme: "http", Host: "a", Path: "/"}).ResolveReference(r.URL)
		show("go-resolve", joined.Path)
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], handler))
}
