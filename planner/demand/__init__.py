"""Who asks for what: cohorts, with one importer per source."""
