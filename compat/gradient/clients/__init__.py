"""One client a resource, as the Gradient SDK had them."""
