package main

import (
	"encoding/json"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// differs tells whether applying config would change live, as Argo CD finds it
// out: a three-way merge with what was applied last, or with config itself
// where that is not known, over the fields of live that are in it.
func differs(config, live map[string]any) (bool, error) {
	original := config
	metadata, _ := live["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if text, ok := annotations[lastApplied].(string); ok {
		var applied map[string]any
		if err := json.Unmarshal([]byte(text), &applied); err != nil {
			return false, err
		}
		original = applied
		// kubectl writes an empty map where the manifest has none.
		if m, ok := original["metadata"].(map[string]any); ok {
			if a, ok := m["annotations"].(map[string]any); ok && len(a) == 0 {
				delete(m, "annotations")
			}
		}
	}
	texts := make([][]byte, 0, 4)
	for _, object := range []map[string]any{original, config, common(original, live), live} {
		text, err := json.Marshal(object)
		if err != nil {
			return false, err
		}
		texts = append(texts, text)
	}
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(texts[0], texts[1], texts[2])
	if err != nil {
		return false, err
	}
	predicted, err := jsonpatch.MergePatch(texts[3], patch)
	if err != nil {
		return false, err
	}
	same, err := equal(predicted, texts[3])
	return !same, err
}

// common is what live has of the fields of original.
func common(original, live map[string]any) map[string]any {
	kept := map[string]any{}
	for key, value := range original {
		found, ok := live[key]
		if !ok {
			continue
		}
		inner, isMap := value.(map[string]any)
		innerLive, isLiveMap := found.(map[string]any)
		if isMap && isLiveMap {
			found = common(inner, innerLive)
		}
		kept[key] = found
	}
	return kept
}
