// A service that authenticates its callers with Countersign, with the standard library alone.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	countersign := NewCountersign(setting("COUNTERSIGN_URL", "http://localhost:5000"))
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", countersign.RequireUser("", hello))
	mux.HandleFunc("/admin", countersign.RequireUser("admin", admin))
	mux.HandleFunc("/", index)

	listener, err := net.Listen("tcp", "127.0.0.1:"+setting("PORT", "8003"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}

func hello(w http.ResponseWriter, r *http.Request) {
	user := CurrentUser(r)
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{"name": user.Name, "id": user.ID, "roles": user.Roles, "method": user.Method}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Print(err)
	}
}

func admin(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s is an admin.\n", CurrentUser(r).Name)
}

func index(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	fmt.Fprintln(w, "Anyone may read this. /hello is for users, /admin for admins.")
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
