"""How long a project waits while another one misbehaves as hard as its limits allow."""
