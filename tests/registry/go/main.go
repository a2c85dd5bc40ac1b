// What the test asks of a client: register, evolve, be refused, read by id. Prints what it saw as a line of JSON.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/sr"
)

type person struct {
	Name  string `avro:"name" json:"name"`
	Email string `avro:"email" json:"email"`
}

func text(fields string) sr.Schema {
	return sr.Schema{Schema: `{"type":"record","name":"Person","namespace":"test","fields":[` + fields + `]}`}
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func connect(url, user string) *sr.Client {
	name, password, _ := strings.Cut(user, ":")
	return must(sr.NewClient(sr.URLs(url), sr.BasicAuth(name, password)))
}

func main() {
	ctx := context.Background()
	url, user, topic := os.Args[1], os.Args[2], os.Args[3]
	subject := topic + "-value"
	client := connect(url, user)

	name := `{"name":"name","type":"string"}`
	second := text(name + `,{"name":"email","type":"string","default":"unknown"}`)
	first := must(client.CreateSchema(ctx, subject, text(name)))

	datum := must(avro.Marshal(must(avro.Parse(first.Schema.Schema)), person{Name: "Ada"}))
	written := append(must(new(sr.ConfluentHeader).AppendEncode(nil, first.ID, nil)), datum...)

	fits := must(client.CheckCompatibility(ctx, subject, -1, second))
	next := must(client.CreateSchema(ctx, subject, second))
	third := text(name + `,{"name":"phone","type":"string"}`)
	_, err := client.CreateSchema(ctx, subject, third)
	var refused *sr.ResponseError
	if !errors.As(err, &refused) {
		fmt.Fprintln(os.Stderr, "not refused:", err)
		os.Exit(1)
	}

	// A client of its own: the schema comes by the id in the bytes, and the reader has another version.
	reader := connect(url, user)
	id, rest, err := new(sr.ConfluentHeader).DecodeID(written)
	must(id, err)
	writer := must(avro.Parse(must(reader.SchemaByID(ctx, id)).Schema))
	resolved := must(avro.NewSchemaCompatibility().Resolve(must(avro.Parse(second.Schema)), writer))
	var read person
	must(read, avro.Unmarshal(resolved, rest, &read))

	levels := client.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatFull}, subject)
	usages := must(client.SchemaUsagesByID(ctx, id))
	saw := map[string]any{
		"first": []int{first.ID, first.Version}, "compatible": fits.Is, "second": []int{next.ID, next.Version},
		"versions": must(client.SubjectVersions(ctx, subject)), "refused": []int{refused.StatusCode, refused.ErrorCode},
		"written": hex.EncodeToString(written), "read": read, "level": levels[0].Level.String(), "usages": len(usages),
		"deleted": must(client.DeleteSubject(ctx, subject, sr.SoftDelete)),
	}
	fmt.Println(string(must(json.Marshal(saw))))
}
