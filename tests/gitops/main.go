// What GitOps tools make of our objects, by their own code: Argo CD's Lua
// runtime and diff, and the kstatus library that Flux uses.
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
	"strings"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/diff"
	jsonpatch "github.com/evanphx/json-patch"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

type request struct {
	Object map[string]any `json:"object"`
	Config map[string]any `json:"config"`
	Action string         `json:"action"`
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

func main() {
	vm, err := configured(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var r request
		a, err := &answer{}, json.Unmarshal(lines.Bytes(), &r)
		if err == nil {
			a, err = vm.answer(r)
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

type machine struct{ lua.VM }

// configured reads the ConfigMap as Argo CD's settings do: a key ends with
// GROUP_KIND, and what is meant is GROUP/KIND.
func configured(path string) (*machine, error) {
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
	overrides := map[string]v1alpha1.ResourceOverride{}
	for key, script := range config.Data {
		rest, found := strings.CutPrefix(key, "resource.customizations.")
		what, groupKind, dotted := strings.Cut(rest, ".")
		group, kind, split := strings.Cut(groupKind, "_")
		if !found || !dotted || !split {
			return nil, fmt.Errorf("%s: Argo CD does not know %q", path, key)
		}
		override := overrides[group+"/"+kind]
		switch what {
		case "health":
			override.HealthLua = script
		case "actions":
			override.Actions = script
		default:
			return nil, fmt.Errorf("%s: %q is not tested", path, key)
		}
		overrides[group+"/"+kind] = override
	}
	return &machine{lua.VM{ResourceOverrides: overrides}}, nil
}

func (m *machine) answer(r request) (*answer, error) {
	object := &unstructured.Unstructured{Object: r.Object}
	switch {
	case r.Config != nil:
		result, err := diff.Diff(&unstructured.Unstructured{Object: r.Config}, object)
		if err != nil {
			return nil, err
		}
		return &answer{Differs: &result.Modified}, nil
	case r.Action != "":
		return m.act(object, r.Action)
	default:
		return m.judge(object)
	}
}

func (m *machine) judge(object *unstructured.Unstructured) (*answer, error) {
	health, err := lua.ResourceHealthOverrides(m.ResourceOverrides).GetResourceHealth(object)
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	a := &answer{Actions: map[string]bool{}}
	// Without a script of its own a kind counts as healthy.
	if health != nil {
		a.Argo = &verdict{string(health.Status), health.Message}
	}
	result, err := status.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	a.Kstatus = &verdict{string(result.Status), result.Message}
	scripts, err := m.GetResourceActionDiscovery(object)
	if err != nil || len(scripts) == 0 {
		return a, err
	}
	actions, err := m.ExecuteResourceActionDiscovery(object, scripts)
	if err != nil {
		return nil, fmt.Errorf("actions: %w", err)
	}
	for _, action := range actions {
		a.Actions[action.Name] = !action.Disabled
	}
	return a, nil
}

// act makes the patch as Argo CD's server does.
func (m *machine) act(object *unstructured.Unstructured, name string) (*answer, error) {
	action, err := m.GetResourceAction(object, name)
	if err != nil {
		return nil, err
	}
	impacted, err := m.ExecuteResourceAction(object.DeepCopy(), action.ActionLua, nil)
	if err != nil {
		return nil, err
	}
	if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		return nil, fmt.Errorf("%s changes other things than its object", name)
	}
	live, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	changed, err := json.Marshal(impacted[0].UnstructuredObj)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.CreateMergePatch(live, changed)
	return &answer{Patch: patch}, err
}
