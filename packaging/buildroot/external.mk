include $(sort $(wildcard $(BR2_EXTERNAL_PULLET_PATH)/package/*/*.mk))
