// What GitOps tools make of our objects: Argo CD's Lua sandbox and a
// three-way merge like its diff's, and the kstatus library that Flux uses.
//
// It reads one JSON request a line and answers with one line each:
//
//	{"object": {...}}                       health, kstatus and actions
//	{"object": {...}, "action": "rotate"}   the merge patch that Argo CD would send
//	{"object": {...}, "config": {...}}      whether Argo CD finds the object as in git
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubejson "k8s.io/apimachinery/pkg/util/json"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/yaml"
)

type request struct {
	Object map[string]any
	Config map[string]any
	Action string
}

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type answer struct {
	Argo    *verdict        `json:"argo,omitempty"`
	Kstatus *verdict        `json:"kstatus,omitempty"`
	Actions map[string]bool `json:"actions,omitempty"`
	Patch   json.RawMessage `json:"patch,omitempty"`
	Differs *bool           `json:"differs,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// scripts are what Argo CD knows of one kind.
type scripts struct {
	health  string
	actions struct {
		Discovery   string `json:"discovery.lua"`
		Definitions []struct {
			Name   string `json:"name"`
			Action string `json:"action.lua"`
		} `json:"definitions"`
	}
}

// tool knows the scripts by GROUP/KIND.
type tool map[string]scripts

func main() {
	t, err := configured(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		r, err := read(lines.Bytes())
		var a *answer
		if err == nil {
			a, err = t.answer(r)
		}
		if err != nil {
			a = &answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// read keeps whole numbers whole, as clients of Kubernetes do.
func read(line []byte) (request, error) {
	var all map[string]any
	err := kubejson.Unmarshal(line, &all)
	object, _ := all["object"].(map[string]any)
	config, _ := all["config"].(map[string]any)
	action, _ := all["action"].(string)
	return request{object, config, action}, err
}

// configured reads the ConfigMap as Argo CD's settings do: a key ends with
// GROUP_KIND, and what is meant is GROUP/KIND.
func configured(path string) (tool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t := tool{}
	for key, script := range config.Data {
		rest, found := strings.CutPrefix(key, "resource.customizations.")
		what, groupKind, dotted := strings.Cut(rest, ".")
		group, kind, split := strings.Cut(groupKind, "_")
		if !found || !dotted || !split {
			return nil, fmt.Errorf("%s: Argo CD does not know %q", path, key)
		}
		s := t[group+"/"+kind]
		switch what {
		case "health":
			s.health = script
		case "actions":
			if err := yaml.UnmarshalStrict([]byte(script), &s.actions); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, key, err)
			}
		default:
			return nil, fmt.Errorf("%s: %q is not tested", path, key)
		}
		t[group+"/"+kind] = s
	}
	return t, nil
}

func (t tool) answer(r request) (*answer, error) {
	object := &unstructured.Unstructured{Object: r.Object}
	kind := object.GroupVersionKind().GroupKind()
	s := t[kind.Group+"/"+kind.Kind]
	switch {
	case r.Config != nil:
		differs, err := differs(r.Config, r.Object)
		return &answer{Differs: &differs}, err
	case r.Action != "":
		return s.act(r.Object, r.Action)
	default:
		return s.judge(object)
	}
}

// call runs a script and decodes what it returned.
func call(object map[string]any, script string, into any) error {
	value, err := run(object, script)
	if err != nil {
		return err
	}
	text, err := luajson.Encode(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func (s scripts) judge(object *unstructured.Unstructured) (*answer, error) {
	a := &answer{Actions: map[string]bool{}}
	if s.health != "" {
		a.Argo = &verdict{}
		if err := call(object.Object, s.health, a.Argo); err != nil {
			return nil, fmt.Errorf("health: %w", err)
		}
	}
	result, err := status.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	a.Kstatus = &verdict{string(result.Status), result.Message}
	if s.actions.Discovery == "" {
		return a, nil
	}
	found := map[string]struct {
		Disabled    bool   `json:"disabled"`
		DisplayName string `json:"displayName"`
	}{}
	if err := call(object.Object, s.actions.Discovery, &found); err != nil {
		return nil, fmt.Errorf("actions: %w", err)
	}
	for name, action := range found {
		a.Actions[name] = !action.Disabled
	}
	return a, nil
}

// act makes the patch as Argo CD's server does.
func (s scripts) act(object map[string]any, name string) (*answer, error) {
	for _, definition := range s.actions.Definitions {
		if definition.Name != name {
			continue
		}
		var changed map[string]any
		if err := call(object, definition.Action, &changed); err != nil {
			return nil, err
		}
		live, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		wanted, err := json.Marshal(mapsAgain(object, changed))
		if err != nil {
			return nil, err
		}
		patch, err := jsonpatch.CreateMergePatch(live, wanted)
		return &answer{Patch: patch}, err
	}
	return nil, fmt.Errorf("there is no action %q", name)
}

func equal(a, b []byte) (bool, error) {
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		return false, err
	}
	err := json.Unmarshal(b, &y)
	return reflect.DeepEqual(x, y), err
}
