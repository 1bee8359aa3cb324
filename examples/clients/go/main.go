package main

import (
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"
)

func main() {
	nc, err := nats.Connect("nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	msg := nats.NewMsg("ask.classify")
	msg.Header.Set("Flotilla-Deadline-Ms", "30000")
	msg.Data = []byte(`{"document": "I was charged twice", "labels": ["billing", "login"]}`)
	reply, err := nc.RequestMsg(msg, 35*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	if kind := reply.Header.Get("Nats-Service-Error"); kind != "" {
		log.Fatalf("%s: %s", kind, reply.Data)
	}
	fmt.Println(string(reply.Data))
}
