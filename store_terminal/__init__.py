"""The till of a store: baskets, their payment and their refunds."""
