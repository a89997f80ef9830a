package gateway

import (
	"log/slog"

	"cpimgate/gateway/config"
	"cpimgate/gateway/store"
)

// StoreConfig says where records are kept, as the settings say.
func StoreConfig(s *config.Config, log *slog.Logger) store.Config {
	return store.Config{
		Dir: s.Store.Dir, Sync: s.Store.Sync, URL: string(s.Store.URL), Credentials: s.Store.CredentialsFile, CAFile: s.Store.CAFile,
		Name: s.Store.Name, Replicas: s.Store.Replicas, Log: log,
	}
}
