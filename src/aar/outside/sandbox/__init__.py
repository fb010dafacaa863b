"""Where code we do not trust runs: one launcher starts every bubblewrap, clients ask it over a socket."""
