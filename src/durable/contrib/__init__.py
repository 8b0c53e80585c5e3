"""Optional integrations, one folder each; they use public names only, and nothing here is imported by the rest."""
