package handlers

import (
	"github.com/pondage/pondage/stateful"
)

// Plan implements [stateful.Planner]: S and the States that are declared must be what is stored.
func (k Keyed[E, S]) Plan(stateful.Config) stateful.Plan {
	parts := append([]stateful.SchemaPart{{Name: "handler", Kind: "Keyed"}}, k.value().Schema()...)
	for _, s := range k.States {
		parts = append(parts, s.Schema()...)
	}
	return stateful.Plan{Schema: parts}
}
