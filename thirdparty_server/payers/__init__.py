"""Who pays: identities, wallets, phones, PINs and pay codes."""
