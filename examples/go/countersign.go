package main

import (
	"context"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// User is who sent a request.
type User struct {
	ID     string
	Name   string
	Roles  []string
	Scopes []string
	// Method is basic, opaque, jwt or personal: what the request was authenticated with.
	Method string
}

// HasRole tells whether the user has this role.
func (user User) HasRole(role string) bool {
	for _, own := range user.Roles {
		if own == role {
			return true
		}
	}
	return false
}

// Countersign asks a Countersign server who is calling.
type Countersign struct {
	verify string
	client *http.Client
}

// NewCountersign returns a client of the server at this address, such as http://localhost:5000.
func NewCountersign(address string) *Countersign {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// Credentials do not go through a proxy that the environment names.
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 64
	// Shorter than the ten seconds after which Countersign closes an idle connection.
	transport.IdleConnTimeout = 5 * time.Second
	return &Countersign{
		verify: strings.TrimRight(address, "/") + "/verify",
		client: &http.Client{
			Transport: transport,
			Timeout:   3 * time.Second,
			// A redirect would send the credential to another server.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

type userKey struct{}

// CurrentUser returns the user of a request that RequireUser let through.
func CurrentUser(request *http.Request) User {
	user, _ := request.Context().Value(userKey{}).(User)
	return user
}

// RequireUser lets requests of users through, and of those with the role if one is given.
func (c *Countersign) RequireUser(role string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		credentials := r.Header.Values("Authorization")
		if len(credentials) != 1 {
			refuse(w, len(credentials))
			return
		}
		// The header goes on unchanged: after parsing and formatting, a credential might mean something else.
		check, err := http.NewRequestWithContext(r.Context(), http.MethodGet, c.verify, nil)
		if err != nil {
			unavailable(w, "1")
			return
		}
		check.Header.Set("Authorization", credentials[0])
		answer, err := c.client.Do(check)
		if err != nil {
			log.Printf("Countersign does not answer: %v", err)
			unavailable(w, "1")
			return
		}
		defer answer.Body.Close()

		switch answer.StatusCode {
		case http.StatusOK:
			user := readUser(answer.Header)
			switch {
			case user.ID == "":
				log.Printf("%s does not answer as Countersign does", c.verify)
				unavailable(w, "1")
			case role != "" && !user.HasRole(role):
				http.Error(w, "You do not have the role for this.", http.StatusForbidden)
			default:
				next(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
			}
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestHeaderFieldsTooLarge:
			for _, challenge := range answer.Header.Values("WWW-Authenticate") {
				w.Header().Add("WWW-Authenticate", challenge)
			}
			http.Error(w, "The credential is not valid, or no longer.", http.StatusUnauthorized)
		case http.StatusForbidden:
			http.Error(w, "Countersign knows you, but does not let you in.", http.StatusForbidden)
		case http.StatusTooManyRequests:
			w.Header().Set("Retry-After", retryAfter(answer.Header))
			http.Error(w, "Too many attempts.", http.StatusTooManyRequests)
		default:
			log.Printf("Countersign cannot check the credential: it answers %d", answer.StatusCode)
			unavailable(w, retryAfter(answer.Header))
		}
	}
}

func readUser(header http.Header) User {
	return User{
		ID:     header.Get("X-Auth-User-Id"),
		Name:   header.Get("X-Auth-User"),
		Roles:  strings.FieldsFunc(header.Get("X-Auth-Roles"), func(c rune) bool { return c == ',' }),
		Scopes: strings.Fields(header.Get("X-Auth-Scopes")),
		Method: header.Get("X-Auth-Method"),
	}
}

// A request without a credential costs Countersign nothing; one with two has no single meaning.
func refuse(w http.ResponseWriter, credentials int) {
	if credentials > 1 {
		http.Error(w, "There is more than one Authorization header.", http.StatusBadRequest)
		return
	}
	w.Header().Add("WWW-Authenticate", `Bearer realm="hello"`)
	w.Header().Add("WWW-Authenticate", `Basic realm="hello", charset="UTF-8"`)
	http.Error(w, "A username and password, or a token, are needed.", http.StatusUnauthorized)
}

// unavailable refuses a request that may be a right one: nobody gets in, and nobody is told that a password is wrong.
func unavailable(w http.ResponseWriter, seconds string) {
	w.Header().Set("Retry-After", seconds)
	http.Error(w, "Who you are cannot be checked now.", http.StatusServiceUnavailable)
}

func retryAfter(header http.Header) string {
	if seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 31); err == nil && seconds > 0 {
		return strconv.FormatUint(seconds, 10)
	}
	return "1"
}
