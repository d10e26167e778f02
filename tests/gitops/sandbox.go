// What Argo CD's scripts may use, with the interpreter that it uses: the
// language, the libraries base, package and table, and of os the clock. Its own
// package needs another version of Kubernetes than the tests' control plane.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
)

// Argo CD gives a script one second.
const patience = time.Second

// clock is what is there of the library os: `time()`, and `date(format)` in UTC
// with the words that we use.
func clock(l *lua.LState) int {
	words := strings.NewReplacer("%Y", "2006", "%m", "01", "%d", "02", "%X", "15:04:05")
	l.Push(l.SetFuncs(l.NewTable(), map[string]lua.LGFunction{
		"time": func(l *lua.LState) int {
			l.Push(lua.LNumber(time.Now().Unix()))
			return 1
		},
		"date": func(l *lua.LState) int {
			format, utc := strings.CutPrefix(l.CheckString(1), "!")
			layout := words.Replace(format)
			if !utc || strings.Contains(layout, "%") {
				l.RaiseError("os.date(%q) is more than this sandbox has", l.CheckString(1))
			}
			l.Push(lua.LString(time.Now().UTC().Format(layout)))
			return 1
		},
	}))
	return 1
}

// run hands an object to a script and returns what it returned.
func run(object map[string]any, script string) (lua.LValue, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		if err := l.PCall(1, 0, nil); err != nil {
			return nil, err
		}
	}
	l.PreloadModule(lua.OsLibName, clock)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.SetContext(ctx)
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	// All numbers are of one kind there.
	given, err := luajson.Decode(l, text)
	if err != nil {
		return nil, err
	}
	l.SetGlobal("actionParams", l.NewTable())
	l.SetGlobal("obj", given)
	if err := l.DoString(script); err != nil {
		return nil, err
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script returned no table but %s", l.Get(-1).Type())
	}
	return table, nil
}

// mapsAgain undoes what a language does to an object that has one kind of empty
// table for lists and maps: what was an empty map before is one again.
func mapsAgain(before, after any) any {
	switch was := before.(type) {
	case map[string]any:
		if list, ok := after.([]any); ok && len(list) == 0 {
			return map[string]any{}
		}
		is, _ := after.(map[string]any)
		for key, value := range is {
			is[key] = mapsAgain(was[key], value)
		}
	case []any:
		is, _ := after.([]any)
		for i := range min(len(was), len(is)) {
			is[i] = mapsAgain(was[i], is[i])
		}
	}
	return after
}
