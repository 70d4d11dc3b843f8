"""Operations: health, metrics, recovery and background work across the domains."""
