package main

import (
	"fmt"
	"net/http"
	"os"
)

var version = "unset"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "get" {
		answer, err := http.Get("http://127.0.0.1:8080/")
		if err != nil {
			os.Exit(1)
		}
		fmt.Println(answer.StatusCode)
		return
	}
	if len(os.Args) > 1 {
		fmt.Println(version, os.Getuid())
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, version) })
	panic(http.ListenAndServe(":8080", nil))
}
