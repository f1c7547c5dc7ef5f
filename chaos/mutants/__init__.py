"""Guards of the product switched off one by one, each of which somebody must notice. `garbagetruck chaos mutants` runs them."""
