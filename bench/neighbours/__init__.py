"""Waiting times of a project while another one misbehaves as hard as its limits allow."""
